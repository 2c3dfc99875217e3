/**
 * `npm run bench -- node`: what the node program costs a host with systemd and a real containerd: from its start to
 * verified handlers, when there is nothing to do, how long CRI is away, how often the engine is restarted, and how a
 * host gets through configurations with which its engine would not start again.
 */
import type { Progress } from '../e2e/cluster/progress.ts';
import { KataNodeProgram } from '../test/integration/support/kataNodeProgram.ts';
import { type BadConfigurationRun, measureBadConfigurations } from './node/badConfigurations.ts';
import { type InstallRun, measureInstalls, type Sample } from './node/installs.ts';
import { measureOutages, type Outages } from './node/outages.ts';
import { figure, median, percentile, type Figure, type Measured } from './result.ts';

const INSTALLS = 3;
const OUTAGES = [
  { release: '2.4', runs: 50 },
  { release: '1.7', runs: 15 },
] as const;
const BAD_CONFIGURATIONS = ['1.7', '2.4'] as const;

export async function node(progress: Progress): Promise<Measured> {
  const program = await KataNodeProgram.build();
  try {
    const installs = await measureInstalls(INSTALLS, program, progress);
    const outages: Outages[] = [];
    for (const { release, runs } of OUTAGES)
      outages.push(
        await progress.step(`${runs} restarts of containerd ${release}`, () =>
          measureOutages(release, runs, program),
        ),
      );
    const bad: BadConfigurationRun[] = [];
    for (const release of BAD_CONFIGURATIONS)
      bad.push(
        ...(await progress.step(`bad configurations of containerd ${release}`, () =>
          measureBadConfigurations(release, program),
        )),
      );
    return {
      runs: OUTAGES[0].runs,
      raw: { installs, outages, badConfigurations: bad },
      figures: [
        ...installFigures(installs),
        ...outages.flatMap(outageFigures),
        ...badConfigurationFigures(bad),
      ],
    };
  } finally {
    await program.destroy();
  }
}

function installFigures(runs: readonly InstallRun[]): Figure[] {
  const all = (of: keyof InstallRun, pick: (sample: Sample) => number): number[] =>
    runs.map((run) => pick(run[of]));
  const worst = (of: keyof InstallRun, pick: (sample: Sample) => number): number =>
    Math.max(...all(of, pick));
  const restarts = ({ restarts: count }: Sample): number => count;
  const peaks = runs.flatMap((run) => Object.values(run).map(({ peakMiB }: Sample) => peakMiB));
  return [
    figure(
      'program start to verified Ready, 1.09 GB (median)',
      median(all('install', ({ seconds }) => seconds)),
      's',
      4,
    ),
    figure(
      'verify, as a program of its own (median)',
      median(all('verify', ({ seconds }) => seconds)),
      's',
      null,
    ),
    figure('nothing to do, work (median)', median(all('noop', ({ workMs }) => workMs)), 'ms', 100),
    figure(
      'nothing to do, bytes of artifacts written',
      worst('noop', ({ bytesWritten }) => bytesWritten),
      'B',
      0,
    ),
    figure('engine restarts: install', worst('install', restarts), 'restarts', 1),
    figure('engine restarts: other artifacts', worst('upgrade', restarts), 'restarts', 1),
    figure('engine restarts: labels and rollout changed', worst('labels', restarts), 'restarts', 0),
    figure('engine restarts: nothing to do', worst('noop', restarts), 'restarts', 0),
    figure('peak memory (worst)', Math.max(...peaks), 'MiB', 128),
  ];
}

function outageFigures({ release, runs, phases }: Outages): Figure[] {
  const on = `containerd ${release}`;
  const installs = runs.map(({ installMs }) => installMs);
  const medianOf = (key: keyof (typeof phases)[number]): number =>
    median(phases.map((one) => one[key]));
  return [
    figure(`CRI outage of an install, ${on} (median)`, median(installs), 'ms', 150),
    figure(`CRI outage of an install, ${on} (p99)`, percentile(installs, 0.99), 'ms', 1000),
    figure(
      `CRI outage of a removal, ${on} (median)`,
      median(runs.map(({ removeMs }) => removeMs)),
      'ms',
      null,
    ),
    figure(
      `CRI outage of systemctl restart by hand, ${on} (median)`,
      median(runs.map(({ byHandMs }) => byHandMs)),
      'ms',
      null,
    ),
    figure(`of a restart of ${on}: the old process ends (median)`, medianOf('stopMs'), 'ms', null),
    figure(
      `of a restart of ${on}: systemd between the two (median)`,
      medianOf('betweenMs'),
      'ms',
      null,
    ),
    figure(
      `of a restart of ${on}: the new process is loaded (median)`,
      medianOf('programStartMs'),
      'ms',
      null,
    ),
    figure(`of a restart of ${on}: its plugins start (median)`, medianOf('pluginsMs'), 'ms', null),
  ];
}

function badConfigurationFigures(runs: readonly BadConfigurationRun[]): Figure[] {
  const outages = (ending: string): number[] =>
    runs.filter((run) => run.expected === ending).map(({ outageMs }) => outageMs);
  const wrong = runs.filter((run) => run.ending !== run.expected || !run.asBefore);
  return [
    figure('bad configurations met', runs.length, 'configurations', null, 'higher'),
    figure('bad configurations that did not end as they should', wrong.length, 'configurations', 0),
    figure(
      'CRI outage where validation can tell (worst)',
      Math.max(...outages('refused')),
      'ms',
      0,
    ),
    figure(
      'CRI outage where only a start can tell (worst)',
      Math.max(...outages('rolledBack')),
      'ms',
      10_000,
    ),
  ];
}
