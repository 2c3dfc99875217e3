/**
 * Interrupting one run and letting others follow: which commands, from which state, and what must come out.
 *
 * A point is one interruption together with what follows it. The same point gives the same outcome again.
 */
import { GUARD_TIMER } from '../../src/node/engine/guard/guard.ts';
import type { DiskCall } from './shim.ts';
import type { CrashHost, Interruption, Ran } from './host.ts';
import {
  knownState,
  snapshotOf,
  wrongAfterRemoval,
  wrongAfterRun,
  wrongAtAnyInstant,
  type KnownState,
  type Snapshot,
} from './invariants.ts';
import type { Revision } from './tools.ts';

export type StateName = 'clean' | 'r1' | 'r2';

interface Command {
  readonly argv: readonly string[];
  /** Of the plan that is given; `rollback` takes none. */
  readonly revision: Revision;
  /** State of the host when it has ended well. */
  readonly leadsTo: StateName;
}

const APPLY_R1: Command = { argv: ['apply'], revision: 'r1', leadsTo: 'r1' };
const APPLY_R2: Command = { argv: ['apply'], revision: 'r2', leadsTo: 'r2' };
const ROLLBACK: Command = { argv: ['rollback'], revision: 'r1', leadsTo: 'r1' };
const REMOVE: Command = { argv: ['remove'], revision: 'r2', leadsTo: 'clean' };

export interface Scenario {
  readonly name: string;

  readonly from: StateName;
  readonly command: Command;
  /** What somebody may run after the interruption besides the same again. */
  readonly instead: readonly Command[];
}

export const SCENARIOS: readonly Scenario[] = [
  { name: 'install', from: 'clean', command: APPLY_R1, instead: [REMOVE, APPLY_R2] },
  { name: 'upgrade', from: 'r1', command: APPLY_R2, instead: [APPLY_R1, REMOVE] },
  { name: 'rollback', from: 'r2', command: ROLLBACK, instead: [APPLY_R2, REMOVE] },
  { name: 'remove', from: 'r2', command: REMOVE, instead: [APPLY_R2, APPLY_R1] },
];

/**
 * What follows: the same attempt (a container that is started again), another one, also after a reboot or after the
 * guard's timer, or another command.
 */
export const SEQUELS = ['sameAttempt', 'otherAttempt', 'reboot', 'timer', 'instead'] as const;
export type Sequel = (typeof SEQUELS)[number];

export interface Point {
  readonly scenario: Scenario;
  readonly interruption: Interruption;
  readonly sequel: Sequel;
}

export interface Verdict {
  /** False when the run had ended before the interruption came: then there is no such point. */
  readonly reached: boolean;
  /** The call that was interrupted. */
  readonly where: string;
  readonly wrong: readonly string[];
}

const SANDBOX_PID = 5001;
const TAKEN_BACK = `${GUARD_TIMER} took it back`;

/** A host with its states, each as it is after runs that nobody interrupted. */
export class Laboratory {
  readonly #host: CrashHost;
  readonly #states: Readonly<Record<StateName, KnownState>>;
  readonly #clean: Snapshot;

  private constructor(
    host: CrashHost,
    states: Readonly<Record<StateName, KnownState>>,
    clean: Snapshot,
  ) {
    this.#host = host;
    this.#states = states;
    this.#clean = clean;
  }

  static async create(host: CrashHost): Promise<Laboratory> {
    const clean = await snapshotOf(host.root);
    const states: Partial<Record<StateName, KnownState>> = {
      clean: knownState(clean, host, undefined),
    };
    await host.keep('clean');
    for (const command of [APPLY_R1, APPLY_R2]) {
      requireDone(await host.kataNode(command.argv, command.revision), command);
      states[command.leadsTo] = knownState(await snapshotOf(host.root), host, command.revision);
      await host.keep(command.leadsTo);
    }
    const { r1, r2 } = states;
    if (r1 === undefined || r2 === undefined || states.clean === undefined)
      throw new Error('a state is missing');
    return new Laboratory(host, { clean: states.clean, r1, r2 }, clean);
  }

  /** The calls that change the disk in a run that nobody interrupts. */
  async callsOf({ from, command }: Scenario): Promise<readonly DiskCall[]> {
    await this.#host.bringBack(from);
    const ran = await this.#host.kataNode(command.argv, command.revision);
    requireDone(ran, command);
    return ran.calls;
  }

  async examine({ scenario, interruption, sequel }: Point): Promise<Verdict> {
    const host = this.#host;
    const { from, command } = scenario;
    await host.bringBack(from);
    const sandbox = await this.#runningSandbox(command === REMOVE, sequel);
    const attempt = ['--attempt', 'first'];
    const ran = await host.kataNode([...command.argv, ...attempt], command.revision, interruption);
    const last = ran.calls.at(-1);
    const where = last === undefined ? 'before any call' : `${last.name} ${last.path}`;
    if (!wasReached(ran, interruption)) return { reached: false, where, wrong: [] };
    const configs = [from, command.leadsTo].map((name) => this.#states[name].config);
    const wrong = [
      ...(await wrongAtAnyInstant(host, configs)).map((what) => `at once: ${what}`),
      ...(ran.killed ? [] : this.#wrongResult(ran)),
    ];
    const next = sequel === 'instead' ? this.#insteadOf(scenario, interruption) : command;
    if (sequel === 'reboot' || sequel === 'timer') {
      const isUp = sequel === 'reboot' ? await host.reboot() : await host.timerElapses();
      const left = await wrongAtAnyInstant(host, configs);
      if (!isUp) left.push('the engine is down');
      wrong.push(...left.map((what) => `after the ${sequel}: ${what}`));
    }
    const nextAttempt = ['--attempt', sequel === 'sameAttempt' ? 'first' : 'second'];
    let again = await host.kataNode([...next.argv, ...nextAttempt], next.revision);
    // What the timer has taken back is refused once.
    if (sequel === 'timer' && again.result?.error?.message.includes(TAKEN_BACK) === true)
      again = await host.kataNode([...next.argv, '--attempt', 'third'], next.revision);
    const latched = sequel === 'sameAttempt' && again.result?.outcome === ran.result?.outcome;
    if (again.result?.outcome !== 'done' && !latched)
      wrong.push(`the next run ends with ${describe(again)}`);
    else if (again.result?.outcome === 'done')
      wrong.push(...(await this.#wrongAfter(next.leadsTo)).map((what) => `next run: ${what}`));
    wrong.push(...(await sandbox.end()));
    const removed = await host.kataNode(REMOVE.argv, 'r2');
    if (removed.result?.outcome !== 'done') wrong.push(`removal ends with ${describe(removed)}`);
    const left = wrongAfterRemoval(this.#clean, await snapshotOf(host.root));
    return { reached: true, where, wrong: [...wrong, ...left.map((what) => `removal: ${what}`)] };
  }

  /** A sandbox that was started before: its files must outlive everything but a removal, which waits for it. */
  async #runningSandbox(isRemoval: boolean, sequel: Sequel): Promise<{ end(): Promise<string[]> }> {
    const shim = this.#host.engine.loaded?.['kata-fc']?.shimPath;
    if (shim === undefined || isRemoval || sequel === 'instead')
      return { end: () => Promise.resolve([]) };
    const endProcess = await this.#host.pretendProcess(SANDBOX_PID, shim);
    return {
      end: async () => {
        await endProcess();
        const isThere = (await snapshotOf(this.#host.root))[shim.slice(1)] !== undefined;
        return isThere ? [] : [`a running sandbox has lost ${shim}`];
      },
    };
  }

  async #wrongAfter(name: StateName): Promise<string[]> {
    if (name !== 'clean') return wrongAfterRun(this.#host, this.#states[name], this.#clean);
    return wrongAfterRemoval(this.#clean, await snapshotOf(this.#host.root));
  }

  #insteadOf({ instead, command }: Scenario, interruption: Interruption): Command {
    const index = typeof interruption === 'object' && 'at' in interruption ? interruption.at : 0;
    return instead[index % instead.length] ?? command;
  }

  /** A run that a failing disk did not kill must end in words, by itself. */
  #wrongResult(ran: Ran): string[] {
    return [
      ...(ran.result === undefined ? [`no result: ${describe(ran)}`] : []),
      ...(/^\s+at /m.test(ran.stderr) ? ['a stack trace was printed'] : []),
    ];
  }
}

function wasReached(ran: Ran, interruption: Interruption): boolean {
  if (interruption === 'none') return true;
  return 'at' in interruption ? ran.calls.length >= interruption.at : ran.killed;
}

function requireDone(ran: Ran, { argv, revision }: Command): void {
  if (ran.result?.outcome !== 'done')
    throw new Error(`${argv.join(' ')} ${revision}, undisturbed, ends with ${describe(ran)}`);
}

function describe({ result, code, stderr }: Ran): string {
  const error = result?.error;
  return result === undefined
    ? `code ${code}: ${stderr.trim().split('\n').slice(-2).join(' ')}`
    : `${result.outcome}${error === undefined ? '' : ` (${error.step}: ${error.message})`}`;
}
