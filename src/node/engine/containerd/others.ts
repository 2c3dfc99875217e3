/**
 * What another installer of Kata Containers has left in containerd's configuration: recognised, so that the message
 * says whose it is. It is never touched: taking somebody else's installation apart is their installer's work.
 *
 * Pure.
 */
import { KataError } from '../../../errors.ts';
import { isTable, type TomlTable } from '../../toml/document.ts';

/** ` (left by kata-deploy)` for a file that its name gives away, else nothing. */
export function whoMade(path: string): string {
  return /kata-deploy/.test(path) ? ' (made by kata-deploy)' : '';
}

/** Throws KATA_E_ENGINE_CONFIG_CONFLICT when one of the handlers is a Kata runtime that somebody else has set up. */
export function assertNotInstalledByOthers(
  runtimes: TomlTable,
  handlers: readonly string[],
  file: string,
): void {
  for (const handler of handlers) {
    const table = runtimes[handler];
    const type = isTable(table) ? table['runtime_type'] : undefined;
    if (typeof type !== 'string' || !type.startsWith('io.containerd.kata')) continue;
    const path = isTable(table) ? table['runtime_path'] : undefined;
    const shim = typeof path === 'string' ? ` with the shim ${path}` : '';
    throw new KataError('KATA_E_ENGINE_CONFIG_CONFLICT', {
      file,
      cause: `handler ${handler} is there already${shim}: Kata Containers was set up here before, by kata-deploy or by hand; remove that installation first`,
    });
  }
}
