import type { Write } from '../../../../src/controller/writes.ts';

/** The write that gives a node these labels, each with the value `true`. */
export function labelWrite(
  { name, uid }: { name: string; uid: string },
  keys: readonly string[],
): Extract<Write, { verb: 'apply' }> {
  const labels = Object.fromEntries(keys.map((key) => [key, 'true']));
  return {
    verb: 'apply',
    manager: 'labels',
    object: { apiVersion: 'v1', kind: 'Node', metadata: { name, uid, labels } },
  };
}
