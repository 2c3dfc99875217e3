/**
 * Whether the engine answers, and bringing it back: restart, wait until CRI is ready, measure how long it was away.
 *
 * Never sends a signal to the engine: containerd exits on SIGHUP. Every wait has a deadline and names the unit.
 */
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { KataError, causeOf } from '../../errors.ts';
import type { Host } from '../host/host.ts';
import { reloadUnit, restartUnit } from '../host/systemd.ts';
import { type CriStatus, criStatus, CriUnavailable, criVersion } from './cri/client.ts';
import { describeEngine, type Engine } from './engine.ts';

/** Restarts the engine and returns when whoever runs it says that it was started. */
export interface EngineRestarter {
  /** For messages: the unit, or what stands for it. */
  readonly unit: string;
  restart(signal: AbortSignal): Promise<void>;
  /** Has the engine read its files again without a restart, where it can: CRI-O does, containerd would end. */
  readonly reload?: (signal: AbortSignal) => Promise<void>;
}

const CALL_DEADLINE_MS = 5_000;
const PROBE_DEADLINE_MS = 1_000;
const PROBE_INTERVAL_MS = 5;
/** systemd's own limit for a start is 90 s; a node with many sandboxes takes its time to find them again. */
const RESTART_TIMEOUT_MS = 95_000;
const READY_TIMEOUT_MS = 60_000;
const RELOAD_TIMEOUT_MS = 10_000;

/** Throws KATA_E_ENGINE_UNSUPPORTED when nobody is known who could restart it. */
export function systemdRestarter(host: Host, engine: Engine): EngineRestarter {
  const { unit } = engine;
  if (unit === undefined) {
    throw new KataError('KATA_E_ENGINE_UNSUPPORTED', {
      engine: describeEngine(engine),
      cause:
        'it is not run by systemd, so it cannot be restarted from here; set spec.engine.restart to Never and restart it yourself',
    });
  }
  return {
    unit,
    restart: (signal) => restartUnit(host, unit, RESTART_TIMEOUT_MS, signal),
    ...reloading(host, engine, unit),
  };
}

function reloading(host: Host, engine: Engine, unit: string): Pick<EngineRestarter, 'reload'> {
  if (engine.name === 'crio')
    return { reload: (signal) => reloadUnit(host, unit, RELOAD_TIMEOUT_MS, signal) };
  // It watches its directory, and restarts its containerd.
  return engine.distribution === 'k0s' ? { reload: () => Promise.resolve() } : {};
}

/** CRI's status of the running engine. Throws KATA_E_ENGINE_NOT_FOUND when it does not answer. */
export async function engineStatus(
  host: Host,
  engine: Engine,
  signal: AbortSignal,
): Promise<CriStatus> {
  try {
    return await criStatus(host.at(engine.socket), CALL_DEADLINE_MS, signal);
  } catch (error) {
    if (!(error instanceof CriUnavailable)) throw error;
    throw new KataError(
      'KATA_E_ENGINE_NOT_FOUND',
      { cause: `nothing answers CRI at ${engine.socket}: ${error.message}` },
      { cause: error },
    );
  }
}

/** Undefined when the engine does not answer. */
export async function engineStatusIfAny(
  host: Host,
  engine: Engine,
  signal: AbortSignal,
): Promise<CriStatus | undefined> {
  try {
    return await criStatus(host.at(engine.socket), CALL_DEADLINE_MS, signal);
  } catch (error) {
    if (error instanceof CriUnavailable) return undefined;
    throw error;
  }
}

/** Restarts and waits for RuntimeReady. Returns for how many milliseconds CRI did not answer. Throws KATA_E_ENGINE_RESTART. */
export async function restartAndWait(
  host: Host,
  engine: Engine,
  restarter: EngineRestarter,
  signal: AbortSignal,
): Promise<number> {
  const watch = new OutageWatch(host.at(engine.socket), signal);
  try {
    await restarter.restart(signal);
    await waitReady(host, engine, restarter.unit, signal);
    return await watch.stop();
  } finally {
    await watch.stop();
  }
}

async function waitReady(
  host: Host,
  engine: Engine,
  unit: string,
  signal: AbortSignal,
): Promise<void> {
  const socket = host.at(engine.socket);
  const deadline = performance.now() + READY_TIMEOUT_MS;
  let cause = 'it did not answer';
  while (performance.now() < deadline) {
    try {
      if (await accepts(socket)) {
        const status = await criStatus(socket, CALL_DEADLINE_MS, signal);
        if (status.runtimeReady) return;
        cause = status.notReadyCause;
      }
    } catch (error) {
      if (!(error instanceof CriUnavailable)) throw error;
      // An engine that answers has loaded all its plugins: waiting would only lengthen the outage.
      if (error.isUnimplemented)
        throw new KataError('KATA_E_ENGINE_RESTART', {
          unit,
          cause: 'it runs without CRI: its CRI plugin did not load; its log says why',
        });
      cause = error.message;
    }
    await sleep(PROBE_INTERVAL_MS, undefined, { signal });
  }
  throw new KataError('KATA_E_ENGINE_RESTART', {
    unit,
    cause: `CRI was not ready within ${READY_TIMEOUT_MS / 1000} s: ${causeOf(cause)}`,
  });
}

/**
 * True when somebody accepts connections on the socket. A refused connection costs next to nothing, a gRPC client
 * per try would take the processor from the engine that is starting.
 */
function accepts(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connect(socket);
    connection.once('connect', () => {
      connection.destroy();
      resolve(true);
    });
    connection.once('error', () => {
      resolve(false);
    });
  });
}

/**
 * Knocks at the socket again and again; from the first refusal to the next answer of CRI is the outage, up to one
 * interval too long. CRI itself is only called after a refusal: every call would cost the engine's processor time.
 */
class OutageWatch {
  #outageMs = 0;
  #stopped = false;
  readonly #running: Promise<void>;

  constructor(socket: string, signal: AbortSignal) {
    this.#running = this.#watch(socket, signal).catch(() => undefined);
  }

  /** Milliseconds without an answer; 0 when nothing was refused. */
  async stop(): Promise<number> {
    this.#stopped = true;
    await this.#running;
    return Math.round(this.#outageMs);
  }

  async #watch(socket: string, signal: AbortSignal): Promise<void> {
    let lastAcceptedMs = performance.now();
    let wasRefused = false;
    while (!this.#stopped || wasRefused) {
      const isAccepted = await accepts(socket);
      const answers: boolean = isAccepted && (!wasRefused || (await this.#answers(socket, signal)));
      if (signal.aborted) return;
      const now = performance.now();
      if (answers && wasRefused) this.#outageMs = Math.max(this.#outageMs, now - lastAcceptedMs);
      if (answers) lastAcceptedMs = now;
      wasRefused = !answers;
      if (!answers && this.#stopped) return;
      await sleep(PROBE_INTERVAL_MS, undefined, { signal });
    }
  }

  #answers(socket: string, signal: AbortSignal): Promise<boolean> {
    return criVersion(socket, PROBE_DEADLINE_MS, signal).then(
      () => true,
      () => false,
    );
  }
}
