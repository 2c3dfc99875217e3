/**
 * The real program, interrupted at calls that change the disk: a sample of what `npm run bench -- crash` does
 * completely. A failure names the point; the same point can be examined again alone.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CrashHost, prepareTools } from '../../bench/crash/host.ts';
import { allPoints, describePoint, sample } from '../../bench/crash/points.ts';
import { Laboratory, SCENARIOS } from '../../bench/crash/scenarios.ts';

const SEED = 20261121;
const POINTS_PER_SCENARIO = 4;

describe('a host on which a run was interrupted', () => {
  let tools: Awaited<ReturnType<typeof prepareTools>> | undefined;
  let host: CrashHost | undefined;
  let laboratory: Laboratory | undefined;

  beforeAll(async () => {
    tools = await prepareTools();
    host = await CrashHost.create(tools);
    laboratory = await Laboratory.create(host);
  });
  afterAll(async () => {
    await host?.dispose();
    await tools?.dispose();
  });

  test.for(SCENARIOS)(
    'is right at once, after the next run and after removal: $name',
    async (scenario) => {
      if (laboratory === undefined) throw new Error('there is no host');
      const points = allPoints(scenario, await laboratory.callsOf(scenario));
      for (const point of sample(points, POINTS_PER_SCENARIO, SEED)) {
        const { reached, wrong, where } = await laboratory.examine(point);
        expect({ point: describePoint(point), where, reached, wrong }).toEqual({
          point: describePoint(point),
          where,
          reached: true,
          wrong: [],
        });
      }
    },
  );
});
