/**
 * Who still runs from the versions on this host: a live process, or a sandbox whose shim the engine will need to
 * clean it up. As long as there is one, its files stay.
 */
import { readFile, readdir, readlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HOST_PATHS } from '../../crds/names.ts';
import { KataError } from '../../errors.ts';
import type { Host } from '../host/host.ts';

const BELOW = `${HOST_PATHS.versions}/`;

/** Where containerd keeps a directory per sandbox and container, by namespace; also as k3s and rke2 place it. */
const TASKS = ['/run/containerd', '/run/k3s/containerd'].map((directory) =>
  join(directory, 'io.containerd.runtime.v2.task'),
);

/** Names the path of the shim in such a directory. */
const SHIM_PATH_FILE = 'shim-binary-path';

/** A sandbox whose Pod is gone takes a moment to end. */
const PATIENCE_MS = 15_000;
const INTERVAL_MS = 500;
const MAX_SHOWN = 5;

/** Waits a little for what is about to end. Throws KATA_E_IN_USE, which names the first few. */
export async function requireUnused(
  host: Host,
  signal: AbortSignal,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const users = await usersOfVersions(host);
    if (users.length === 0) return;
    if (performance.now() >= deadline) {
      const more = users.length - MAX_SHOWN;
      const shown = users.slice(0, MAX_SHOWN).join(', ');
      throw new KataError('KATA_E_IN_USE', {
        users: more > 0 ? `${shown} and ${more} more` : shown,
      });
    }
    await sleep(INTERVAL_MS, undefined, { signal });
  }
}

/** For people: `containerd-shim-kata-v2 (pid 4711)`, `sandbox 0123 (its shim is gone)`. */
export async function usersOfVersions(host: Host): Promise<string[]> {
  const processes = await runningProcesses(host);
  return [...processes, ...(processes.length > 0 ? [] : await sandboxesWithoutProcess(host))];
}

async function runningProcesses(host: Host): Promise<string[]> {
  const names = await readdir(host.at('/proc')).catch(() => []);
  const found: string[] = [];
  for (const pid of names.filter((name) => /^[0-9]+$/.test(name))) {
    const exe = await readlink(host.at(`/proc/${pid}/exe`)).catch(() => '');
    if (exe.startsWith(BELOW))
      found.push(`${basename(exe.replace(/ \(deleted\)$/, ''))} (pid ${pid})`);
  }
  return found;
}

async function sandboxesWithoutProcess(host: Host): Promise<string[]> {
  const found: string[] = [];
  for (const tasks of TASKS)
    for (const namespace of await readdir(host.at(tasks)).catch(() => []))
      for (const id of await readdir(host.at(join(tasks, namespace))).catch(() => [])) {
        const file = join(tasks, namespace, id, SHIM_PATH_FILE);
        const shim = await readFile(host.at(file), 'utf8').catch(() => '');
        if (shim.startsWith(BELOW)) found.push(`sandbox ${id} (its shim is gone)`);
      }
  return found;
}
