/**
 * `npm run bench -- crash`: interrupts the real program at every call that changes the disk, in every kind of run,
 * and looks whether the host is right at once, after the next run, and after removal.
 */
import { availableParallelism } from 'node:os';
import type { Progress } from '../e2e/cluster/progress.ts';
import { CrashHost, prepareTools, type Tools } from './crash/host.ts';
import { allPoints, describePoint, sample } from './crash/points.ts';
import { Laboratory, SCENARIOS, type Point, type Verdict } from './crash/scenarios.ts';
import { figure, type Measured } from './result.ts';

const POINTS_WANTED = 500;
/** About every fourth one of all; which ones follows from the seed. */
const POINTS_PER_SCENARIO = 130;
const SEED = 1;
const REPORT_EVERY = 50;

interface Examined extends Verdict {
  readonly point: string;
}

export async function crash(progress: Progress): Promise<Measured> {
  const tools = await prepareTools();
  try {
    const points = await pointsOf(tools);
    progress.say(`${points.length} points`);
    const examined = await examineAll(tools, points, progress);
    const reached = examined.filter((one) => one.reached);
    const wrong = reached.filter((one) => one.wrong.length > 0);
    for (const { point, where, wrong: what } of wrong)
      progress.say(`${point} (${where}): ${what.join('; ')}`);
    return {
      runs: 1,
      figures: [
        figure('points', reached.length, 'points', POINTS_WANTED, 'higher'),
        ...SCENARIOS.map(({ name }) =>
          figure(
            `points in ${name}`,
            reached.filter(({ point }) => point.startsWith(`${name},`)).length,
            'points',
            null,
            'higher',
          ),
        ),
        figure('points after which an invariant did not hold', wrong.length, 'points', 0),
      ],
      raw: { examined: reached },
    };
  } finally {
    await tools.dispose();
  }
}

async function pointsOf(tools: Tools): Promise<Point[]> {
  const host = await CrashHost.create(tools);
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
  points: readonly Point[],
  progress: Progress,
): Promise<Examined[]> {
  const queue = [...points];
  const examined: Examined[] = [];
  const work = async (): Promise<void> => {
    const host = await CrashHost.create(tools);
    try {
      const laboratory = await Laboratory.create(host);
      for (let point = queue.shift(); point !== undefined; point = queue.shift()) {
        examined.push({ point: describePoint(point), ...(await laboratory.examine(point)) });
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
