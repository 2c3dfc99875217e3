/**
 * Waits for the last sandboxes to end before their files are removed: a live process, or a sandbox whose shim the engine
 * will need to clean it up. As long as there is one, its files stay.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { KataError } from '../../errors.ts';
import { describeUsers, findUses, type User, type Uses } from '../artifacts/versionUse.ts';
import type { Host } from '../host/host.ts';

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
    const users = inTheWay(await findUses(host, signal, (uses) => inTheWay(uses).length > 0));
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

/** In words. What a runtime has left of a sandbox that nothing runs any more is nobody's to wait for. */
export function inTheWay({ versions, revisions }: Uses): string[] {
  const users = [...versions.values(), ...revisions.values()].flat();
  const waitedFor = (user: User): boolean => user.kind === 'process' || user.isOfEngine;
  return [...new Set(describeUsers(users.filter(waitedFor)))];
}
