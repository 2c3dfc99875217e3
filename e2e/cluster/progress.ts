/**
 * Tells a person at a terminal what is going on and how long it takes.
 *
 * Owns the form of progress lines. It must never be silent for longer than a quarter of a minute while
 * a step runs.
 */
export type Log = (line: string) => void;

const HEARTBEAT_MS = 15_000;

export class Progress {
  readonly #log: Log;
  readonly #startedAt = performance.now();

  constructor(log: Log) {
    this.#log = log;
  }

  /** One line with the time since the start in front. */
  say(line: string): void {
    this.#log(`[${seconds(performance.now() - this.#startedAt).padStart(7)}] ${line}`);
  }

  /** Runs one step; says when it starts, that it still runs, and how long it took. */
  async step<T>(title: string, work: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    const elapsed = (): string => seconds(performance.now() - startedAt);
    this.say(`${title} ...`);
    const heartbeat = setInterval(() => {
      this.say(`${title}: still running (${elapsed()})`);
    }, HEARTBEAT_MS);
    try {
      const result = await work();
      this.say(`${title}: done in ${elapsed()}`);
      return result;
    } catch (error) {
      this.say(`${title}: FAILED after ${elapsed()}`);
      throw error;
    } finally {
      clearInterval(heartbeat);
    }
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

/** For callers that give no log: progress goes to standard error, so that output stays machine-readable. */
export function stderrLog(line: string): void {
  process.stderr.write(`${line}\n`);
}
