/**
 * Restarting a unit of the host through systemd's D-Bus interface (org.freedesktop.systemd1(5)).
 *
 * Over the system bus, because systemd accepts a peer from another PID namespace there, while systemctl in a
 * chroot is refused. Nothing is enabled, disabled or reloaded here, and no signal is sent to a process.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { KataError, causeOf } from '../../errors.ts';
import { type DbusConnection, openDbus } from './dbus.ts';
import type { Host } from './host.ts';

export const SYSTEM_BUS = '/run/dbus/system_bus_socket';

const MANAGER = {
  destination: 'org.freedesktop.systemd1',
  path: '/org/freedesktop/systemd1',
  interface: 'org.freedesktop.systemd1.Manager',
} as const;

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
    await bus.addMatch(MATCH_JOB_REMOVED, limited);
    await bus.call({ ...MANAGER, member: 'Subscribe' }, limited);
    // A unit that failed too often in a row would be refused; it is not an error when it has not.
    await bus
      .call({ ...MANAGER, member: 'ResetFailedUnit', signature: 's', body: [unit] }, limited)
      .catch(() => []);
    const result = await runJob(bus, unit, limited);
    if (result !== 'done' && result !== 'skipped')
      throw new Error(`systemd ended its restart with "${result}"`);
    await confirmActive(bus, unit, limited);
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

/** The job may end before RestartUnit has answered with its path: what ended until then is remembered. */
async function runJob(bus: DbusConnection, unit: string, signal: AbortSignal): Promise<string> {
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
    { ...MANAGER, member: 'RestartUnit', signature: 'ss', body: [unit, 'replace'] },
    signal,
  );
  wanted.job = String(job);
  return ended.get(wanted.job) ?? String((await removed)[3]);
}

async function confirmActive(
  bus: DbusConnection,
  unit: string,
  signal: AbortSignal,
): Promise<void> {
  let state = await activeState(bus, signal, unit);
  while (state === 'activating' || state === 'reloading') {
    await sleep(100, undefined, { signal });
    state = await activeState(bus, signal, unit);
  }
  if (state !== 'active') throw new Error(`the unit is ${state}`);
}

async function activeState(
  bus: DbusConnection,
  signal: AbortSignal,
  unit: string,
): Promise<string> {
  const [path] = await bus.call(
    { ...MANAGER, member: 'GetUnit', signature: 's', body: [unit] },
    signal,
  );
  const [state] = await bus.call(
    {
      destination: MANAGER.destination,
      path: String(path),
      interface: 'org.freedesktop.DBus.Properties',
      member: 'Get',
      signature: 'ss',
      body: ['org.freedesktop.systemd1.Unit', 'ActiveState'],
    },
    signal,
  );
  return String(state);
}
