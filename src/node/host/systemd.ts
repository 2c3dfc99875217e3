/**
 * Restarting and stopping units of the host through systemd's D-Bus interface (org.freedesktop.systemd1(5)).
 *
 * Over the system bus, because systemd accepts a peer from another PID namespace there, while systemctl in a
 * chroot is refused. Nothing is enabled, disabled or reloaded here, and no signal is sent to a process.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { KataError, causeOf } from '../../errors.ts';
import { type DbusConnection, DbusError, openDbus } from './dbus.ts';
import type { Host } from './host.ts';

export const SYSTEM_BUS = '/run/dbus/system_bus_socket';

const MANAGER = {
  destination: 'org.freedesktop.systemd1',
  path: '/org/freedesktop/systemd1',
  interface: 'org.freedesktop.systemd1.Manager',
} as const;

/** Methods of systemd that make a job, and what people call it. */
const JOBS = { RestartUnit: 'restart', ReloadUnit: 'reload', StopUnit: 'stop' } as const;

const MATCH_JOB_REMOVED =
  "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/** Restarts the unit and returns when its job has ended well. Throws KATA_E_ENGINE_RESTART with the unit's name. */
export async function restartUnit(
  host: Host,
  unit: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  await withManager(host, unit, timeoutMs, signal, async (bus, limited) => {
    await listenToJobs(bus, limited);
    // A unit that failed too often in a row would be refused; it is not an error when it has not.
    await bus
      .call({ ...MANAGER, member: 'ResetFailedUnit', signature: 's', body: [unit] }, limited)
      .catch(() => []);
    await runJob(bus, 'RestartUnit', unit, limited);
    await confirmActive(bus, unit, limited);
  });
}

/** Runs the unit's own ExecReload. */
export async function reloadUnit(
  host: Host,
  unit: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  await withManager(host, unit, timeoutMs, signal, async (bus, limited) => {
    await listenToJobs(bus, limited);
    await runJob(bus, 'ReloadUnit', unit, limited);
  });
}

/** Starts the timer, or starts it anew. Its unit file may be one that systemd has never seen. */
export async function restartTimer(
  host: Host,
  unit: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  await withManager(host, unit, timeoutMs, signal, async (bus, limited) => {
    await listenToJobs(bus, limited);
    await runJob(bus, 'RestartUnit', unit, limited);
  });
}

/** Stops the unit; one that systemd does not know is stopped already. */
export async function stopUnit(
  host: Host,
  unit: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  await withManager(host, unit, timeoutMs, signal, async (bus, limited) => {
    await listenToJobs(bus, limited);
    try {
      await runJob(bus, 'StopUnit', unit, limited);
    } catch (error) {
      if (!(error instanceof DbusError && error.errorName.endsWith('.NoSuchUnit'))) throw error;
    }
  });
}

/** Lets systemd forget that the unit failed, so that nothing of it stays in memory. */
export async function resetUnit(
  host: Host,
  unit: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  await withManager(host, unit, timeoutMs, signal, async (bus, limited) => {
    await bus
      .call({ ...MANAGER, member: 'ResetFailedUnit', signature: 's', body: [unit] }, limited)
      .catch(() => []);
  });
}

/** systemd's ActiveState: active, reloading, inactive, failed, activating, deactivating, maintenance. */
export async function unitState(
  host: Host,
  unit: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<string> {
  return withManager(host, unit, timeoutMs, signal, (bus, limited) =>
    activeState(bus, limited, unit),
  );
}

async function withManager<Result>(
  host: Host,
  unit: string,
  timeoutMs: number,
  signal: AbortSignal,
  work: (bus: DbusConnection, limited: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const deadline = AbortSignal.timeout(timeoutMs);
  const limited = AbortSignal.any([signal, deadline]);
  let bus: DbusConnection | undefined;
  try {
    bus = await openDbus(host.at(SYSTEM_BUS), limited);
    return await work(bus, limited);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    const cause = deadline.aborted
      ? `systemd did not answer within ${timeoutMs / 1000} s`
      : causeOf(error);
    throw new KataError('KATA_E_ENGINE_RESTART', { unit, cause }, { cause: error });
  } finally {
    bus?.close();
  }
}

async function listenToJobs(bus: DbusConnection, signal: AbortSignal): Promise<void> {
  await bus.addMatch(MATCH_JOB_REMOVED, signal);
  await bus.call({ ...MANAGER, member: 'Subscribe' }, signal);
}

/** The job may end before systemd has answered with its path: what ended until then is remembered. */
async function runJob(
  bus: DbusConnection,
  member: keyof typeof JOBS,
  unit: string,
  signal: AbortSignal,
): Promise<void> {
  const ended = new Map<string, string>();
  const wanted: { job?: string } = {};
  const removed = bus.waitForSignal(
    'JobRemoved',
    ([, job = '', ofUnit, result]) => {
      if (ofUnit === unit) ended.set(String(job), String(result));
      return ofUnit === unit && job === wanted.job;
    },
    signal,
  );
  removed.catch(() => undefined);
  const [job] = await bus.call(
    { ...MANAGER, member, signature: 'ss', body: [unit, 'replace'] },
    signal,
  );
  wanted.job = String(job);
  const result = ended.get(wanted.job) ?? String((await removed)[3]);
  if (result !== 'done' && result !== 'skipped')
    throw new Error(`systemd ended its ${JOBS[member]} with "${result}"`);
}

async function confirmActive(
  bus: DbusConnection,
  unit: string,
  signal: AbortSignal,
): Promise<void> {
  let state = await activeState(bus, signal, unit);
  while (state === 'activating' || state === 'reloading') {
    // It has ended already, and systemd would start it again in the same way some seconds later.
    if ((await unitProperty(bus, signal, unit, 'SubState')).startsWith('auto-restart'))
      throw new Error('the unit ended again at once');
    await sleep(20, undefined, { signal });
    state = await activeState(bus, signal, unit);
  }
  if (state !== 'active') throw new Error(`the unit is ${state}`);
}

function activeState(bus: DbusConnection, signal: AbortSignal, unit: string): Promise<string> {
  return unitProperty(bus, signal, unit, 'ActiveState');
}

async function unitProperty(
  bus: DbusConnection,
  signal: AbortSignal,
  unit: string,
  property: 'ActiveState' | 'SubState',
): Promise<string> {
  const [path] = await bus.call(
    { ...MANAGER, member: 'GetUnit', signature: 's', body: [unit] },
    signal,
  );
  const [value] = await bus.call(
    {
      destination: MANAGER.destination,
      path: String(path),
      interface: 'org.freedesktop.DBus.Properties',
      member: 'Get',
      signature: 'ss',
      body: ['org.freedesktop.systemd1.Unit', property],
    },
    signal,
  );
  return String(value);
}
