/**
 * What the node program does with a release in its real size: from nothing to verified, nothing to do, other
 * artifacts, a change that is not for nodes, and back.
 */
import { readFile } from 'node:fs/promises';
import type { Progress } from '../../e2e/cluster/progress.ts';
import type {
  KataNodeProgram,
  ProgramRun,
} from '../../test/integration/support/kataNodeProgram.ts';
import { benchArchives, type BenchArchives } from '../artifacts/archives.ts';
import { Machine, planOf } from './machine.ts';

const RELEASE = '2.4';

export interface Sample {
  readonly seconds: number;
  readonly workMs: number;
  readonly bytesWritten: number;
  readonly restarts: number;
  readonly outageMs: number;
  readonly peakMiB: number;
  readonly steps: ProgramRun['result']['steps'];
}

export interface InstallRun {
  readonly install: Sample;
  /** `kata-node verify` as a program of its own, after it. */
  readonly verify: Sample;
  readonly noop: Sample;
  /** Another selector of nodes and another rollout: what the controller makes a plan of. */
  readonly labels: Sample;
  readonly upgrade: Sample;
  readonly remove: Sample;
}

export async function measureInstalls(
  runs: number,
  program: KataNodeProgram,
  progress: Progress,
): Promise<InstallRun[]> {
  const archives = await benchArchives(progress);
  const machine = await Machine.start(RELEASE, program);
  try {
    const measured: InstallRun[] = [];
    for (let index = 1; index <= runs; index += 1)
      measured.push(
        await progress.step(`install ${index} of ${runs}`, () => oneRun(machine, archives)),
      );
    return measured;
  } finally {
    await machine.destroy();
  }
}

async function oneRun(machine: Machine, { first, second }: BenchArchives): Promise<InstallRun> {
  for (const archive of first.archives) await readFile(archive); // the source is in memory
  await machine.host.sh('sync');
  const plan = planOf({});
  const relabelled = planOf({
    nodes: { selector: { matchLabels: { pool: 'sandboxes' } } },
    rollout: { maxUnavailable: 2 },
  });
  const upgraded = planOf({}, 'node:2');
  const measure = (
    command: 'apply' | 'verify' | 'remove',
    wanted = plan,
    artifacts = first.directory,
  ): Promise<Sample> => sampleOf(machine, command, wanted, artifacts);
  return {
    install: await measure('apply'),
    verify: await measure('verify'),
    noop: await measure('apply'),
    labels: await measure('apply', relabelled),
    upgrade: await measure('apply', upgraded, second.directory),
    remove: await measure('remove', upgraded, second.directory),
  };
}

async function sampleOf(
  machine: Machine,
  ...request: Parameters<Machine['succeed']>
): Promise<Sample> {
  const { result, outageMs, engineStarts } = await machine.counted(() =>
    machine.succeed(...request),
  );
  const { steps, bytesWritten } = result.result;
  return {
    seconds: result.seconds,
    workMs: steps.reduce((sum, { ms }) => sum + ms, 0),
    bytesWritten,
    restarts: engineStarts,
    outageMs,
    peakMiB: result.peakMiB,
    steps,
  };
}
