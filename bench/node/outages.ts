/**
 * For how long CRI does not answer when handlers come and go, beside what a restart by hand takes on the same host in
 * the same minute, with the same handlers.
 */
import { loadavg } from 'node:os';
import type { EngineRelease } from '../../e2e/cluster/engines.ts';
import { packArchives, artifactsDirectory } from '../../e2e/standin/pack.ts';
import type { KataNodeProgram } from '../../test/integration/support/kataNodeProgram.ts';
import { Machine, planOf } from './machine.ts';
import { type RestartPhases, restartPhases } from './restarts.ts';

export interface OutageRun {
  readonly installMs: number;
  /** What the program says of it. */
  readonly installReportedMs: number | undefined;
  readonly byHandMs: number;
  readonly removeMs: number;
  readonly load: number;
}

export interface Outages {
  readonly release: EngineRelease;
  readonly runs: readonly OutageRun[];
  /** Three of every run: install, by hand, remove. */
  readonly phases: readonly RestartPhases[];
}

export async function measureOutages(
  release: EngineRelease,
  runs: number,
  program: KataNodeProgram,
): Promise<Outages> {
  await packArchives({ kind: 'small' });
  const machine = await Machine.start(release, program);
  try {
    const measured: OutageRun[] = [];
    // The first one finds nothing in memory and says nothing of the others.
    for (let index = 0; index <= runs; index += 1) {
      const one = await oneRun(machine);
      if (index > 0) measured.push(one);
    }
    return { release, runs: measured, phases: await restartPhases(machine) };
  } finally {
    await machine.destroy();
  }
}

async function oneRun(machine: Machine): Promise<OutageRun> {
  const plan = planOf({});
  const artifacts = artifactsDirectory('small');
  const install = await machine.watched(() => machine.succeed('apply', plan, artifacts));
  const byHand = await machine.watched(() => machine.restartByHand());
  const remove = await machine.watched(() => machine.succeed('remove', plan, artifacts));
  return {
    installMs: install.outageMs,
    installReportedMs: install.result.result.outageMs,
    byHandMs: byHand.outageMs,
    removeMs: remove.outageMs,
    load: loadavg()[0] ?? 0,
  };
}
