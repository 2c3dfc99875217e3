/**
 * A run of the engine's steps that is ended by SIGKILL at a given point: `node guardVictim.ts ROOT POINT`.
 * Like the node program it holds the lock and keeps its record on the host.
 */
import { lockFiles } from '../../../src/node/host/helper.ts';
import { hostAt } from '../../../src/node/host/host.ts';
import { discoverEngine, installSteps } from '../../../src/node/engine/index.ts';
import { prepareInstallation } from '../../../src/node/transaction/installation.ts';
import { StateFile } from '../../../src/node/transaction/journal.ts';
import { KATA, WANTED } from './guardPlan.ts';

const [root = '', point = ''] = process.argv.slice(2);
const signal = AbortSignal.timeout(120_000);
const host = hostAt(root);
const die = (): void => {
  process.kill(process.pid, 'SIGKILL');
};

await prepareInstallation(host);
const lock = '/opt/kata/state/lock';
await lockFiles([{ hostPath: lock, at: host.at(lock) }], 10_000, signal);
const engine = await discoverEngine(host, WANTED, signal);
const record = new StateFile(host).engineRecord();
const steps = installSteps({
  ...{ host, engine, owner: 'kata', restart: 'WhenNeeded', record },
  registrations: KATA,
});
for (const step of steps) {
  if (point === `in ${step.name}`) setTimeout(die, 40);
  if (!(await step.check(signal))) await step.apply(signal);
  if (point === `after ${step.name}`) die();
  if (point === `frozen after ${step.name}`) {
    process.stdout.write('frozen\n');
    setInterval(() => undefined, 1_000);
    break;
  }
  await step.verify(signal);
}
