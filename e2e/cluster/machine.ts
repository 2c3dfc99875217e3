/**
 * What the machine itself must allow before several systemds can run on it.
 *
 * Owns the few kernel limits that are raised. It must never lower one, nor make a change that survives a
 * reboot.
 */
import { readFile, writeFile } from 'node:fs/promises';
import type { Progress } from './progress.ts';

/** Every systemd, containerd and kubelet takes some of these, and all of them count as the same user's. */
const MINIMUMS: Readonly<Record<string, number>> = {
  'fs/inotify/max_user_instances': 2048,
  'fs/inotify/max_user_watches': 524_288,
};

/** Raises limits that are too low for a cluster, and says so. */
export async function ensureLimits(progress: Progress): Promise<void> {
  for (const [name, minimum] of Object.entries(MINIMUMS)) {
    const path = `/proc/sys/${name}`;
    const current = Number(await readFile(path, 'utf8').catch(() => String(minimum)));
    if (current >= minimum) continue;
    progress.say(`raising ${name.replaceAll('/', '.')} from ${current} to ${minimum}`);
    await writeFile(path, String(minimum)).catch((error: unknown) => {
      progress.say(`cannot raise it: ${String(error)}; clusters may fail to start`);
    });
  }
}
