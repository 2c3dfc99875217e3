/**
 * Restarting and stopping units of the host through systemd's D-Bus interface (org.freedesktop.systemd1(5)).
 *
 * Over the system bus, because systemd accepts a peer from another PID namespace there, while systemctl in a
 * chroot is refused. Nothing is enabled, disabled or reloaded here, and no signal is sent to a process.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { KataError, causeOf } from '../../errors.ts';
import { type DbusConnection, DbusError, openDbus } from './dbus.ts';
import type { DbusValue } from './dbusMarshal.ts';
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

/** Restarts the unit and returns when its job has ended well and the unit is active. */
export const restartUnit = onUnit(async (unit) => {
  // A unit that failed too often in a row would be refused.
  await unit.forgetFailure();
  await unit.runJob('RestartUnit');
  await unit.confirmActive();
});

/** Runs the unit's own ExecReload. */
export const reloadUnit = onUnit((unit) => unit.runJob('ReloadUnit'));

/** Starts the timer, or starts it anew. Its unit file may be one that systemd has never seen. */
export const restartTimer = onUnit((unit) => unit.runJob('RestartUnit'));

/** Stops the unit; one that systemd does not know is stopped already. */
export const stopUnit = onUnit(async (unit) => {
  try {
    await unit.runJob('StopUnit');
  } catch (error) {
    if (!(error instanceof DbusError && error.errorName.endsWith('.NoSuchUnit'))) throw error;
  }
});

/** Lets systemd forget that the unit failed, so that nothing of it stays in memory. */
export const resetUnit = onUnit((unit) => unit.forgetFailure());

/** Throws KATA_E_ENGINE_RESTART with the unit's name, or the reason of the signal. */
type UnitCall = (host: Host, unit: string, timeoutMs: number, signal: AbortSignal) => Promise<void>;

/** What is done to a unit, over a connection of its own that ends with it. */
function onUnit(work: (unit: Unit) => Promise<void>): UnitCall {
  return async (host, unit, timeoutMs, signal) => {
    const deadline = AbortSignal.timeout(timeoutMs);
    const limited = AbortSignal.any([signal, deadline]);
    let bus: DbusConnection | undefined;
    try {
      bus = await openDbus(host.at(SYSTEM_BUS), limited);
      await work(new Unit(bus, unit, limited));
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      const cause = deadline.aborted
        ? `systemd did not answer within ${timeoutMs / 1000} s`
        : causeOf(error);
      throw new KataError('KATA_E_ENGINE_RESTART', { unit, cause }, { cause: error });
    } finally {
      bus?.close();
    }
  };
}

/** One unit as systemd's manager sees it, until the signal. */
class Unit {
  readonly #bus: DbusConnection;
  readonly #name: string;
  readonly #signal: AbortSignal;

  constructor(bus: DbusConnection, name: string, signal: AbortSignal) {
    this.#bus = bus;
    this.#name = name;
    this.#signal = signal;
  }

  /** One that has not failed is refused, which changes nothing. */
  async forgetFailure(): Promise<void> {
    await this.#askManager('ResetFailedUnit', 's', [this.#name]).catch(() => []);
  }

  /** Returns when the job has ended well. It may end before systemd has answered with its path: what ended until then is remembered. */
  async runJob(member: keyof typeof JOBS): Promise<void> {
    await this.#bus.addMatch(MATCH_JOB_REMOVED, this.#signal);
    await this.#bus.call({ ...MANAGER, member: 'Subscribe' }, this.#signal);
    const ended = new Map<string, string>();
    const wanted: { job?: string } = {};
    const removed = this.#bus.waitForSignal(
      'JobRemoved',
      ([, job = '', ofUnit, result]) => {
        if (ofUnit === this.#name) ended.set(String(job), String(result));
        return ofUnit === this.#name && job === wanted.job;
      },
      this.#signal,
    );
    removed.catch(() => undefined);
    const [job] = await this.#askManager(member, 'ss', [this.#name, 'replace']);
    wanted.job = String(job);
    const result = ended.get(wanted.job) ?? String((await removed)[3]);
    if (result !== 'done' && result !== 'skipped')
      throw new Error(`systemd ended its ${JOBS[member]} with "${result}"`);
  }

  /** Waits while the unit is on its way up. */
  async confirmActive(): Promise<void> {
    let state = await this.#property('ActiveState');
    while (state === 'activating' || state === 'reloading') {
      // It has ended already, and systemd would start it again in the same way some seconds later.
      if ((await this.#property('SubState')).startsWith('auto-restart'))
        throw new Error('the unit ended again at once');
      await sleep(20, undefined, { signal: this.#signal });
      state = await this.#property('ActiveState');
    }
    if (state !== 'active') throw new Error(`the unit is ${state}`);
  }

  async #property(property: 'ActiveState' | 'SubState'): Promise<string> {
    const [path] = await this.#askManager('GetUnit', 's', [this.#name]);
    const [value] = await this.#bus.call(
      {
        destination: MANAGER.destination,
        path: String(path),
        interface: 'org.freedesktop.DBus.Properties',
        member: 'Get',
        signature: 'ss',
        body: ['org.freedesktop.systemd1.Unit', property],
      },
      this.#signal,
    );
    return String(value);
  }

  #askManager(
    member: string,
    signature: string,
    body: readonly string[],
  ): Promise<readonly DbusValue[]> {
    return this.#bus.call({ ...MANAGER, member, signature, body }, this.#signal);
  }
}
