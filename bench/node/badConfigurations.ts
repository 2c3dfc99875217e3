/**
 * Configurations of containerd with which it would not start again, or not serve again: what the node program does
 * when it meets them, and for how long CRI does not answer meanwhile. The engine itself still runs well each time.
 */
import { readFile, writeFile } from 'node:fs/promises';
import type { EngineRelease } from '../../e2e/cluster/engines.ts';
import { artifactsDirectory, packArchives } from '../../e2e/standin/pack.ts';
import type { KataNodeProgram } from '../../test/integration/support/kataNodeProgram.ts';
import { CONFIG, Machine, planOf } from './machine.ts';

const DIRECTORY = '/etc/containerd/bench.d';
const TRAP = '/etc/systemd/system/containerd.service.d/trap.conf';

/** `installed`: not bad for this release, and the handlers are served. */
export type Ending = 'refused' | 'rolledBack' | 'installed';

interface BadConfiguration {
  readonly name: string;
  /** What is right. Of some it depends on whether the release merges imported sections (2) or replaces them (1). */
  readonly ending: Ending | Readonly<Record<1 | 2, Ending>>;
  readonly edit?: (text: string, schema: 2 | 3) => string;
  /** A file in the directory that `edit` imports. */
  readonly imported?: (schema: 2 | 3) => string;
  /** Lines of systemd's unit: how the engine starts. */
  readonly unit?: string;
}

export interface BadConfigurationRun {
  readonly release: EngineRelease;
  readonly name: string;
  readonly expected: Ending;
  readonly ending: string;
  readonly code: string | undefined;
  readonly message: string | undefined;
  readonly outageMs: number;
  readonly seconds: number;
  readonly restarts: number;
  /** Whether the administrator's bytes and every handler of before were there at the end. */
  readonly asBefore: boolean;
}

const importing =
  (what: string) =>
  (text: string): string =>
    `imports = ["${what}"]\n${text}`;
const runtimes = (schema: 2 | 3): string =>
  `plugins."${schema === 2 ? 'io.containerd.grpc.v1.cri' : 'io.containerd.cri.v1.runtime'}".containerd.runtimes`;
const ofTheirs = (schema: 2 | 3): string =>
  `version = ${schema}\n[${runtimes(schema)}.theirs]\nruntime_type = "io.containerd.runc.v2"\n`;
const startsOnlyWithout = `ExecStartPre=/bin/sh -c "! grep -q kata-qemu ${CONFIG}"`;
const startsWithoutCri = `ExecStart=\\nExecStart=/bin/sh -c "if grep -q kata-qemu ${CONFIG}; then exec $(command -v containerd) --config /etc/no-cri.toml; else exec $(command -v containerd); fi"`;

const CONFIGURATIONS: readonly BadConfiguration[] = [
  {
    name: 'imports a file that is missing',
    ending: 'refused',
    edit: importing('/etc/containerd/missing.toml'),
  },
  {
    name: 'imports by a pattern from a directory that is missing',
    ending: 'installed',
    edit: importing('/etc/none/*.toml'),
  },
  {
    name: 'imports a file that does not parse',
    ending: 'refused',
    edit: importing(`${DIRECTORY}/*.toml`),
    imported: () => '[plugins\n',
  },
  {
    name: 'has a table twice',
    ending: 'refused',
    edit: (text) => `${text}\n[grpc]\n  max_recv_message_size = 1\n`,
  },
  {
    name: 'has a value of the wrong type in a runtime',
    ending: 'refused',
    edit: (text) => text.replace(/runtime_type = .*/, 'runtime_type = 7'),
  },
  {
    name: 'names a default runtime that nobody defines',
    ending: 'refused',
    edit: (text) => text.replace(/default_runtime_name = .*/, 'default_runtime_name = "gone"'),
  },
  {
    name: 'imports a file with one runtime alone (1.x lets it replace all others)',
    ending: { 1: 'refused', 2: 'installed' },
    edit: importing(`${DIRECTORY}/*.toml`),
    imported: ofTheirs,
  },
  { name: 'is empty', ending: 'installed', edit: () => '' },
  {
    name: 'lets the engine start only without the handlers',
    ending: 'rolledBack',
    unit: startsOnlyWithout,
  },
  {
    name: 'lets the engine start with the handlers, but without CRI',
    ending: 'rolledBack',
    unit: startsWithoutCri,
  },
];

export async function measureBadConfigurations(
  release: EngineRelease,
  program: KataNodeProgram,
): Promise<BadConfigurationRun[]> {
  await packArchives({ kind: 'small' });
  const machine = await Machine.start(release, program);
  try {
    const runs: BadConfigurationRun[] = [];
    for (const bad of CONFIGURATIONS) runs.push(await meet(machine, release, bad));
    return runs;
  } finally {
    await machine.destroy();
  }
}

async function meet(
  machine: Machine,
  release: EngineRelease,
  bad: BadConfiguration,
): Promise<BadConfigurationRun> {
  const file = machine.host.host.at(CONFIG);
  const good = await readFile(file);
  const schema = release.startsWith('2') ? 3 : 2;
  const handlers = await machine.served();
  await spoil(machine, bad, good.toString(), schema);
  const before = await machine.configDigest();
  const plan = planOf({});
  const artifacts = artifactsDirectory('small');
  try {
    const { result, outageMs, engineStarts } = await machine.counted(() =>
      machine.run('apply', plan, artifacts),
    );
    const { outcome, error } = result.result;
    const served = await machine.served();
    if (outcome === 'done') await machine.succeed('remove', plan, artifacts);
    return {
      ...{ release, name: bad.name, expected: expectedOf(bad, release), outageMs },
      ending: outcome === 'done' ? 'installed' : outcome,
      code: error?.code,
      message: error?.message,
      seconds: result.seconds,
      restarts: engineStarts,
      asBefore:
        handlers.every((handler) => served.includes(handler)) &&
        (await machine.configDigest()) === before,
    };
  } finally {
    await repair(machine, good);
    await machine.succeed('remove', plan, artifacts);
  }
}

function expectedOf({ ending }: BadConfiguration, release: EngineRelease): Ending {
  return typeof ending === 'string' ? ending : ending[release.startsWith('2') ? 2 : 1];
}

async function spoil(
  { host }: Machine,
  { edit, imported, unit }: BadConfiguration,
  good: string,
  schema: 2 | 3,
): Promise<void> {
  await host.sh(`mkdir -p ${DIRECTORY} $(dirname ${TRAP})
    printf 'version = 2\\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\\n' >/etc/no-cri.toml`);
  if (imported !== undefined)
    await writeFile(host.host.at(`${DIRECTORY}/10-theirs.toml`), imported(schema));
  if (edit !== undefined) await writeFile(host.host.at(CONFIG), edit(good, schema));
  if (unit !== undefined)
    await host.sh(`printf '[Service]\\n%b\\n' ${quoted(unit)} >${TRAP} && systemctl daemon-reload`);
}

/** For the shell, but for commands in it. */
function quoted(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

async function repair(machine: Machine, good: Buffer): Promise<void> {
  const { host } = machine;
  await host.sh(`rm -rf ${DIRECTORY} ${TRAP} /etc/no-cri.toml; systemctl daemon-reload`);
  await writeFile(host.host.at(CONFIG), good);
  await machine.restartByHand();
}
