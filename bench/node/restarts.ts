/** Where the time of a restart goes, as the journal tells it: systemd's own messages and containerd's. */
import type { Machine } from './machine.ts';

export interface RestartPhases {
  /** From systemd's decision to stop until the old process was gone. */
  readonly stopMs: number;
  /** systemd between the two processes. */
  readonly betweenMs: number;
  /** From the new process until containerd's first word: loading the program, and its configuration. */
  readonly programStartMs: number;
  /** Until it serves: its plugins. */
  readonly pluginsMs: number;
}

const LINE = /^(\d+\.\d+) \S+ (\S+?)\[\d+\]: (.*)$/;

/** Of every restart since the host was started, in order. */
export async function restartPhases({ host }: Machine): Promise<RestartPhases[]> {
  const journal = await host.sh(
    "journalctl --unit containerd --output short-unix --no-pager | grep -E 'Stopping|Stopped|Starting|starting containerd|successfully booted'",
  );
  const phases: RestartPhases[] = [];
  let seen: Partial<Record<'stopping' | 'stopped' | 'starting' | 'program', number>> = {};
  for (const line of journal.split('\n')) {
    const [, seconds, , message = ''] = LINE.exec(line) ?? [];
    const atMs = Number(seconds) * 1000;
    if (message.startsWith('Stopping ')) seen = { stopping: atMs };
    else if (message.startsWith('Stopped ')) seen.stopped = atMs;
    else if (message.startsWith('Starting ')) seen.starting = atMs;
    else if (message.includes('msg="starting containerd"')) seen.program = atMs;
    else if (message.includes('successfully booted')) {
      const { stopping, stopped, starting, program } = seen;
      if (stopping === undefined || stopped === undefined) continue;
      if (starting === undefined || program === undefined) continue;
      phases.push({
        stopMs: stopped - stopping,
        betweenMs: starting - stopped,
        programStartMs: program - starting,
        pluginsMs: atMs - program,
      });
      seen = {};
    }
  }
  return phases;
}
