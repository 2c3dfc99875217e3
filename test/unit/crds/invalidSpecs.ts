/**
 * Specs that must be refused, each with the field that the message has to name and words it has to hold.
 * One table for both guards: the API server (schema and CEL) and the controller's own parser.
 */

export interface InvalidSpec {
  readonly what: string;
  readonly spec: unknown;
  /** Path below `spec`, as the API server prints it. */
  readonly field: string;
  /** Words of our own, said by the API server and the parser alike; undefined where each has its own. */
  readonly says?: string;
}

const DIGEST = 'a'.repeat(64);
const source = { url: 'https://example.com/kata-static.tar.zst', sha256: DIGEST };
const sources = (change: object): unknown => ({
  artifacts: { sources: [{ ...source, ...change }] },
});
const runtime = (change: object): unknown => ({ runtimes: [{ name: 'qemu', ...change }] });
const rollout = (change: object): unknown => ({ rollout: change });
const toleration = (change: object): unknown => ({ nodes: { tolerations: [change] } });
const requirement = (change: object): unknown => ({
  nodes: { selector: { matchExpressions: [{ key: 'pool', ...change }] } },
});

const aUrl = 'must be an http or https URL without credentials in it';
const aPath = 'must be an absolute path without ".."';
const aCount = 'must be a number of nodes from 1 to 99999, or a percentage from 1% to 100%';
const aDuration = 'must be a duration such as 90s, 10m or 1h30m';
const aName = 'must consist of lower-case letters, digits and "-"';
const aKey = 'must be a label key such as example.com/pool';
const aQuantity = 'must be a resource quantity such as 250m, 1 or 130Mi';

export const INVALID_SPECS: readonly InvalidSpec[] = [
  {
    what: 'a version with a leading v',
    spec: { version: 'v4.1.0' },
    field: 'version',
    says: 'must be a version such as 4.1.0, without a leading "v"',
  },
  { what: 'a version that is a number', spec: { version: 4.1 }, field: 'version' },
  {
    what: 'two kinds of artifacts',
    spec: { artifacts: { bundled: {}, hostPath: { path: '/srv/kata' } } },
    field: 'artifacts',
    says: 'set at most one of bundled, sources, image and hostPath',
  },
  {
    what: 'credentials for artifacts that need none',
    spec: { artifacts: { credentialsSecret: { name: 'login' } } },
    field: 'artifacts',
    says: 'credentialsSecret needs sources or image',
  },
  {
    what: 'certificates for an image',
    spec: {
      artifacts: {
        image: { reference: `x@sha256:${'a'.repeat(64)}` },
        caConfigMap: { name: 'ca' },
      },
    },
    field: 'artifacts',
    says: 'caConfigMap needs sources',
  },
  {
    what: 'an empty list of sources',
    spec: { artifacts: { sources: [] } },
    field: 'artifacts.sources',
  },
  {
    what: 'a source without a digest',
    spec: { artifacts: { sources: [{ url: source.url }] } },
    field: 'artifacts.sources[0].sha256',
  },
  {
    what: 'a digest with its algorithm in front',
    spec: sources({ sha256: `sha256:${DIGEST.slice(7)}` }),
    field: 'artifacts.sources[0].sha256',
    says: 'must be a sha256 digest: 64 hexadecimal digits in lower case',
  },
  {
    what: 'a digest in upper case',
    spec: sources({ sha256: 'A'.repeat(64) }),
    field: 'artifacts.sources[0].sha256',
    says: 'must be a sha256 digest: 64 hexadecimal digits in lower case',
  },
  {
    what: 'a digest that is too short',
    spec: sources({ sha256: 'abc' }),
    field: 'artifacts.sources[0].sha256',
    says: 'must be a sha256 digest',
  },
  {
    what: 'a source that is no URL',
    spec: sources({ url: '/srv/kata-static.tar.zst' }),
    field: 'artifacts.sources[0].url',
    says: aUrl,
  },
  {
    what: 'a URL of another scheme',
    spec: sources({ url: 'ftp://example.com/kata-static.tar.zst' }),
    field: 'artifacts.sources[0].url',
    says: aUrl,
  },
  {
    what: 'a URL with a password in it',
    spec: sources({ url: 'https://user:secret@example.com/kata-static.tar.zst' }),
    field: 'artifacts.sources[0].url',
    says: aUrl,
  },
  {
    what: 'a mirror that is no URL',
    spec: sources({ mirrors: ['example.com'] }),
    field: 'artifacts.sources[0].mirrors[0]',
    says: aUrl,
  },
  {
    what: 'an unknown architecture',
    spec: sources({ arch: 'x86_64' }),
    field: 'artifacts.sources[0].arch',
  },
  {
    what: 'an image by tag',
    spec: { artifacts: { image: { reference: 'example.com/kata:4.1.0' } } },
    field: 'artifacts.image.reference',
    says: 'must be an image by digest: NAME@sha256:DIGEST',
  },
  {
    what: 'a relative host path',
    spec: { artifacts: { hostPath: { path: 'srv/kata' } } },
    field: 'artifacts.hostPath.path',
    says: aPath,
  },
  {
    what: 'a host path that climbs',
    spec: { artifacts: { hostPath: { path: '/srv/../etc' } } },
    field: 'artifacts.hostPath.path',
    says: aPath,
  },
  {
    what: 'the root as host path',
    spec: { artifacts: { hostPath: { path: '/' } } },
    field: 'artifacts.hostPath.path',
    says: aPath,
  },
  {
    what: 'a proxy that is no URL',
    spec: { artifacts: { proxy: { https: 'proxy:3128' } } },
    field: 'artifacts.proxy.https',
    says: aUrl,
  },
  {
    what: 'a Secret by a name that cannot be',
    spec: { artifacts: { credentialsSecret: { name: 'My_Secret' } } },
    field: 'artifacts.credentialsSecret.name',
    says: 'must be the name of an object',
  },
  {
    what: 'a selector with In and no values',
    spec: requirement({ operator: 'In' }),
    field: 'nodes.selector.matchExpressions[0]',
    says: 'values must be set with In and NotIn, and left out with Exists and DoesNotExist',
  },
  {
    what: 'a selector with Exists and values',
    spec: requirement({ operator: 'Exists', values: ['a'] }),
    field: 'nodes.selector.matchExpressions[0]',
    says: 'values must be set with In and NotIn, and left out with Exists and DoesNotExist',
  },
  {
    what: 'a selector with an operator of node affinity',
    spec: requirement({ operator: 'Gt', values: ['1'] }),
    field: 'nodes.selector.matchExpressions[0].operator',
  },
  {
    what: 'a selector with a key that cannot be',
    spec: { nodes: { selector: { matchExpressions: [{ key: 'not a key', operator: 'Exists' }] } } },
    field: 'nodes.selector.matchExpressions[0].key',
    says: aKey,
  },
  {
    what: 'a label key that cannot be',
    spec: { nodes: { selector: { matchLabels: { 'not a key': 'x' } } } },
    field: 'nodes.selector.matchLabels',
    says: 'every key must be a label key',
  },
  {
    what: 'a label value that cannot be',
    spec: { nodes: { selector: { matchLabels: { pool: 'not a value' } } } },
    field: 'nodes.selector.matchLabels',
    says: 'must be a label value',
  },
  {
    what: 'a toleration with Exists and a value',
    spec: toleration({ key: 'pool', operator: 'Exists', value: 'x' }),
    field: 'nodes.tolerations[0]',
    says: 'value must be left out when operator is Exists',
  },
  {
    what: 'a toleration without key and operator',
    spec: toleration({ effect: 'NoSchedule' }),
    field: 'nodes.tolerations[0]',
    says: 'operator must be Exists when key is left out',
  },
  {
    what: 'seconds of a toleration without NoExecute',
    spec: toleration({ key: 'pool', operator: 'Exists', tolerationSeconds: 5 }),
    field: 'nodes.tolerations[0]',
    says: 'tolerationSeconds needs effect NoExecute',
  },
  {
    what: 'a startup taint with a key that cannot be',
    spec: { nodes: { startupTaint: { key: 'example.com/a/b' } } },
    field: 'nodes.startupTaint.key',
    says: aKey,
  },
  { what: 'an empty list of runtimes', spec: { runtimes: [] }, field: 'runtimes' },
  {
    what: 'a runtime without a name',
    spec: { runtimes: [{ base: 'qemu' }] },
    field: 'runtimes[0].name',
  },
  {
    what: 'a runtime name in upper case',
    spec: { runtimes: [{ name: 'QEMU' }] },
    field: 'runtimes[0].name',
    says: aName,
  },
  {
    what: 'a base that cannot be a name',
    spec: runtime({ base: 'qemu_runtime' }),
    field: 'runtimes[0].base',
    says: aName,
  },
  { what: 'options that are a list', spec: runtime({ config: [1] }), field: 'runtimes[0].config' },
  {
    what: 'a drop-in of more than 16 KiB',
    spec: runtime({ extraToml: 'x'.repeat(16_385) }),
    field: 'runtimes[0].extraToml',
  },
  {
    what: "an annotation that is not Kata's",
    spec: runtime({ allowedAnnotations: ['example.com/x'] }),
    field: 'runtimes[0].allowedAnnotations[0]',
    says: 'must be the whole name of one annotation io.katacontainers.…',
  },
  {
    what: 'an annotation by a pattern',
    spec: runtime({ allowedAnnotations: ['io.katacontainers.config.hypervisor.*'] }),
    field: 'runtimes[0].allowedAnnotations[0]',
    says: 'not a pattern',
  },
  {
    what: 'a snapshotter that cannot be a name',
    spec: runtime({ snapshotter: { name: 'dev/mapper' } }),
    field: 'runtimes[0].snapshotter.name',
    says: 'must be Auto or the name of a snapshotter',
  },
  {
    what: 'an overhead that is no quantity',
    spec: runtime({ runtimeClass: { overhead: { memory: '130 MB' } } }),
    field: 'runtimes[0].runtimeClass.overhead.memory',
    says: aQuantity,
  },
  {
    what: 'a negative overhead',
    spec: runtime({ runtimeClass: { overhead: { cpu: -1 } } }),
    field: 'runtimes[0].runtimeClass.overhead.cpu',
    says: aQuantity,
  },
  {
    what: 'a default runtime that is not among the runtimes',
    spec: { runtimes: [{ name: 'qemu' }], defaultRuntime: 'fc' },
    field: 'defaultRuntime',
    says: 'must be the name of one of spec.runtimes',
  },
  {
    what: 'a default runtime that is not among the default ones',
    spec: { defaultRuntime: 'dragonball' },
    field: 'defaultRuntime',
    says: 'must be the name of one of spec.runtimes',
  },
  {
    what: 'a relative path of the engine configuration',
    spec: { engine: { configPath: 'config.toml' } },
    field: 'engine.configPath',
    says: aPath,
  },
  {
    what: 'a socket as a URL',
    spec: { engine: { socket: 'unix:///run/containerd/containerd.sock' } },
    field: 'engine.socket',
    says: aPath,
  },
  { what: 'an unknown engine', spec: { engine: { type: 'docker' } }, field: 'engine.type' },
  {
    what: 'more than all nodes in parallel',
    spec: rollout({ maxParallel: '101%' }),
    field: 'rollout.maxParallel',
    says: aCount,
  },
  {
    what: 'no node in parallel',
    spec: rollout({ maxParallel: 0 }),
    field: 'rollout.maxParallel',
    says: aCount,
  },
  {
    what: 'more nodes in parallel than a cluster has',
    spec: rollout({ maxParallel: 100_000 }),
    field: 'rollout.maxParallel',
    says: aCount,
  },
  {
    what: 'a share that is a fraction',
    spec: rollout({ maxUnavailable: '0.1' }),
    field: 'rollout.maxUnavailable',
    says: aCount,
  },
  {
    what: 'a wave of no node',
    spec: rollout({ waves: ['0%', '100%'] }),
    field: 'rollout.waves[0]',
    says: aCount,
  },
  {
    what: 'a soak without a unit',
    spec: rollout({ soak: '60' }),
    field: 'rollout.soak',
    says: aDuration,
  },
  {
    what: 'a node timeout of days',
    spec: rollout({ nodeTimeout: '1d' }),
    field: 'rollout.nodeTimeout',
    says: aDuration,
  },
  {
    what: 'a node timeout of nothing',
    spec: rollout({ nodeTimeout: '0s' }),
    field: 'rollout.nodeTimeout',
    says: 'at least 1s',
  },
  {
    what: 'a drain timeout that is no duration',
    spec: rollout({ drain: { timeout: 'soon' } }),
    field: 'rollout.drain.timeout',
    says: aDuration,
  },
  {
    what: 'a negative failure budget',
    spec: rollout({ failureBudget: -1 }),
    field: 'rollout.failureBudget',
  },
  {
    what: 'a window with six fields',
    spec: rollout({ windows: [{ schedule: '0 0 22 * * 1-5', duration: '4h' }] }),
    field: 'rollout.windows[0].schedule',
    says: 'must be five fields of cron',
  },
  {
    what: 'a window of no length',
    spec: rollout({ windows: [{ schedule: '0 22 * * 1-5', duration: '1s' }] }),
    field: 'rollout.windows[0].duration',
    says: 'at least 1m',
  },
  {
    what: 'an unknown reaction to a failure',
    spec: rollout({ onFailure: 'Retry' }),
    field: 'rollout.onFailure',
  },
  {
    what: 'an uninstall timeout that is a number',
    spec: { uninstall: { timeout: 30 } },
    field: 'uninstall.timeout',
  },
  { what: 'an unknown verification', spec: { verify: 'None' }, field: 'verify' },
];
