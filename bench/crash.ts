/**
 * `npm run bench -- crash`: interrupts the real program at every call that changes the disk, in every kind of run,
 * and looks whether the host is right at once, after the next run, and after removal.
 */
import { availableParallelism } from 'node:os';
import type { Progress } from '../e2e/cluster/progress.ts';
import { CrashHost } from './crash/host.ts';
import { MACHINES, type Machine } from './crash/machines.ts';
import { allPoints, describePoint, sample } from './crash/points.ts';
import { Laboratory, SCENARIOS, type Point, type Verdict } from './crash/scenarios.ts';
import { prepareTools, type Tools } from './crash/tools.ts';
import { figure, type Measured } from './result.ts';

const POINTS_WANTED = 500;
/** About every fifteenth one of all; which ones follows from the seed. */
const POINTS_PER_SCENARIO = 36;
const SEED = 1;
const REPORT_EVERY = 50;

interface Examined extends Verdict {
  readonly machine: string;
  readonly scenario: string;
  readonly point: string;
}

export async function crash(progress: Progress): Promise<Measured> {
  const tools = await prepareTools();
  try {
    const examined: Examined[] = [];
    for (const machine of MACHINES) {
      progress.say(machine.name);
      const points = await pointsOf(tools, machine);
      examined.push(...(await examineAll(tools, machine, points, progress)));
    }
    const reached = examined.filter((one) => one.reached);
    const wrong = reached.filter((one) => one.wrong.length > 0);
    return {
      runs: 1,
      figures: [
        figure('points', reached.length, 'points', POINTS_WANTED, 'higher'),
        ...counts(reached, 'machine', ({ name }) => `points on ${name}`, MACHINES),
        ...counts(reached, 'scenario', ({ name }) => `points in ${name}`, SCENARIOS),
        figure('points after which an invariant did not hold', wrong.length, 'points', 0),
      ],
      raw: { examined: reached },
    };
  } finally {
    await tools.dispose();
  }
}

function counts(
  examined: readonly Examined[],
  key: 'machine' | 'scenario',
  label: (of: { readonly name: string }) => string,
  all: readonly { readonly name: string }[],
): Measured['figures'] {
  return all.map((of) => {
    const count = examined.filter((one) => one[key] === of.name).length;
    return figure(label(of), count, 'points', null, 'higher');
  });
}

async function pointsOf(tools: Tools, machine: Machine): Promise<Point[]> {
  const host = await CrashHost.create(tools, machine);
  try {
    const laboratory = await Laboratory.create(host);
    const points: Point[] = [];
    for (const scenario of SCENARIOS)
      points.push(
        ...sample(
          allPoints(scenario, await laboratory.callsOf(scenario)),
          POINTS_PER_SCENARIO,
          SEED,
        ),
      );
    return points;
  } finally {
    await host.dispose();
  }
}

/** Several hosts at once, each with its own queue: what one does is unknown to the others. */
async function examineAll(
  tools: Tools,
  machine: Machine,
  points: readonly Point[],
  progress: Progress,
): Promise<Examined[]> {
  const queue = [...points];
  const examined: Examined[] = [];
  const work = async (): Promise<void> => {
    const host = await CrashHost.create(tools, machine);
    try {
      const laboratory = await Laboratory.create(host);
      for (let point = queue.shift(); point !== undefined; point = queue.shift()) {
        const verdict = await laboratory.examine(point);
        const shown = describePoint(point);
        examined.push({
          machine: machine.name,
          scenario: point.scenario.name,
          point: shown,
          ...verdict,
        });
        if (verdict.wrong.length > 0)
          progress.say(`${machine.name}: ${shown} (${verdict.where}): ${verdict.wrong.join('; ')}`);
        if (examined.length % REPORT_EVERY === 0)
          progress.say(`${examined.length} of ${points.length} points`);
      }
    } finally {
      await host.dispose();
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  return examined;
}
