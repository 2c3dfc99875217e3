import fc from 'fast-check';
import { readFile } from 'node:fs/promises';
import { Agent, request } from 'undici';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseKataDeployment } from '../../src/crds/parse.ts';
import type { ApiServer } from './support/apiServer.ts';
import { manifest, startWithKinds } from './support/kinds.ts';

let api: ApiServer;
let agent: Agent;

beforeAll(async () => {
  api = await startWithKinds();
  agent = new Agent({ connect: { ca: await readFile(api.caFile) } });
});

afterAll(async () => {
  await agent.close();
  await api.stop();
});

/** Undefined when the API server takes it; otherwise what it says. */
async function refusalOf(spec: unknown): Promise<string | undefined> {
  const url = `${api.url}/apis/kata-operator.dev/v1alpha1/katadeployments?dryRun=All`;
  const { statusCode, body } = await request(url, {
    method: 'POST',
    dispatcher: agent,
    headers: { authorization: `Bearer ${api.token}`, 'content-type': 'application/json' },
    body: manifest('kata', spec),
  });
  const text = await body.text();
  return statusCode === 201 ? undefined : text;
}

function parserRefuses(spec: unknown): boolean {
  try {
    parseKataDeployment(JSON.parse(manifest('kata', spec)));
    return false;
  } catch {
    return true;
  }
}

const sha256 = 'a'.repeat(64);
const url = 'https://example.com/a.tar.zst';

/** A field, a value that is right, and the spec around it. Values near the right one find the edges. */
const FIELDS: Readonly<
  Record<string, { near: readonly unknown[]; of: (value: unknown) => unknown }>
> = {
  version: { near: ['4.1.0', '4.1.0-rc0'], of: (version) => ({ version }) },
  'artifacts.sources[].url': {
    near: [url, 'http://[::1]:80/a?b#c'],
    of: (value) => ({ artifacts: { sources: [{ url: value, sha256 }] } }),
  },
  'artifacts.sources[].sha256': {
    near: [sha256],
    of: (value) => ({ artifacts: { sources: [{ url, sha256: value }] } }),
  },
  'artifacts.image.reference': {
    near: [`example.com/kata@sha256:${sha256}`],
    of: (reference) => ({ artifacts: { image: { reference } } }),
  },
  'artifacts.hostPath.path': {
    near: ['/srv/kata', '/a/..b/.c'],
    of: (path) => ({ artifacts: { hostPath: { path } } }),
  },
  'nodes.selector.matchLabels key': {
    near: ['example.com/pool', 'a'],
    of: (key) => ({ nodes: { selector: { matchLabels: { [String(key)]: 'x' } } } }),
  },
  'nodes.selector.matchLabels value': {
    near: ['a_b', ''],
    of: (value) => ({ nodes: { selector: { matchLabels: { pool: value } } } }),
  },
  'nodes.startupTaint.key': {
    near: ['example.com/pool'],
    of: (key) => ({ nodes: { startupTaint: { key } } }),
  },
  'runtimes[].name': {
    near: ['qemu-large', 'a'.repeat(40)],
    of: (name) => ({ runtimes: [{ name }] }),
  },
  'runtimes[].allowedAnnotations[]': {
    near: ['io.katacontainers.config.hypervisor.default_vcpus'],
    of: (value) => ({ runtimes: [{ name: 'qemu', allowedAnnotations: [value] }] }),
  },
  'runtimes[].runtimeClass.overhead.memory': {
    near: ['130Mi', '1.5', 7, 0, -1],
    of: (memory) => ({ runtimes: [{ name: 'qemu', runtimeClass: { overhead: { memory } } }] }),
  },
  'rollout.maxParallel': {
    near: ['10%', '100%', '99999', 99_999, 1, 0, -1, 100_000, 1.5, true],
    of: (maxParallel) => ({ rollout: { maxParallel } }),
  },
  'rollout.waves[]': { near: ['10%', 5], of: (wave) => ({ rollout: { waves: [wave] } }) },
  'rollout.soak': { near: ['1h30m', '0s'], of: (soak) => ({ rollout: { soak } }) },
  'rollout.nodeTimeout': {
    near: ['1s', '999ms', '1000ms', '0m1s'],
    of: (nodeTimeout) => ({ rollout: { nodeTimeout } }),
  },
  'rollout.windows[].schedule': {
    near: ['0 22 * * 1-5', '*/5 0 1 JAN MON,TUE'],
    of: (schedule) => ({ rollout: { windows: [{ schedule, duration: '4h' }] } }),
  },
};

/** A value as it is, or with one character put in, taken out or replaced. */
function around(near: readonly unknown[]): fc.Arbitrary<unknown> {
  const character = fc.oneof(
    fc.constantFrom(...Array.from('/.:@%-_ \t\n\u00a0\u2028é?#*+0aZ')),
    fc.string({ minLength: 1, maxLength: 1 }),
  );
  const edited = fc
    .tuple(fc.constantFrom(...near.map(String)), fc.nat(), fc.nat(2), character)
    .map(([text, place, cut, put]) => {
      const at = place % (text.length + 1);
      return text.slice(0, at) + (cut === 2 ? '' : put) + text.slice(at + Math.min(cut, 1));
    });
  return fc.oneof(
    { arbitrary: fc.constantFrom(...near), weight: 1 },
    { arbitrary: edited, weight: 6 },
  );
}

test.each(Object.entries(FIELDS))(
  'the API server and the parser agree on what %s may be',
  async (_, { near, of }) => {
    await fc.assert(
      fc.asyncProperty(around(near), async (value) => {
        const spec = of(value);
        const said = await refusalOf(spec);
        expect(parserRefuses(spec), said ?? 'the API server takes it').toBe(said !== undefined);
      }),
      { numRuns: 60 },
    );
  },
);
