/**
 * What one container of the Pod leaves for the next, in a directory that they share: the results of the
 * stages, and in the end the fingerprint that the resident container watches.
 */
import { lstat, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeResult, type NodeResult, type Stage } from '../../crds/nodeResult.ts';
import { resolveOnHost } from '../host/hostFile.ts';
import type { Host } from '../host/host.ts';

/** Stages that must have ended with `done` before this one may begin. */
const BEFORE: Readonly<Record<Stage, readonly Stage[]>> = {
  preflight: [],
  stage: ['preflight'],
  activate: ['preflight', 'stage'],
  remove: [],
};

const FINGERPRINT_FILE = 'fingerprint';

/** The first earlier stage of this attempt that did not end well, if any. A missing result is no success. */
export async function stageInTheWay(
  directory: string,
  stage: Stage,
  attempt: string,
): Promise<Stage | undefined> {
  for (const earlier of BEFORE[stage]) {
    const result = await readResult(join(directory, `${earlier}.json`));
    if (result?.attempt !== attempt || result.outcome !== 'done') return earlier;
  }
  return undefined;
}

export async function leaveResult(directory: string, result: NodeResult): Promise<void> {
  await writeFile(join(directory, `${result.stage}.json`), `${JSON.stringify(result)}\n`);
}

/**
 * One line per file, `size<TAB>mtime in ns<TAB>inode<TAB>path on the host`, so that a probe can tell by
 * lstat(2) alone that nobody changed or replaced it. Only what the resident container can see: /etc and /opt.
 */
export async function leaveFingerprint(
  directory: string,
  host: Host,
  paths: readonly string[],
): Promise<void> {
  const resolved = await Promise.all(paths.map((path) => resolveOnHost(host, path)));
  const lines = await Promise.all(
    [...new Set(resolved)]
      .sort()
      .filter(isVisible)
      .map(async (path) => {
        const { size, mtimeNs, ino } = await lstat(host.at(path), { bigint: true });
        return `${size}\t${mtimeNs}\t${ino}\t${path}\n`;
      }),
  );
  await writeFile(join(directory, FINGERPRINT_FILE), lines.join(''));
}

function isVisible(path: string): boolean {
  return (path.startsWith('/etc/') || path.startsWith('/opt/')) && !/[\n\t]/.test(path);
}

async function readResult(file: string): Promise<NodeResult | undefined> {
  try {
    return nodeResult.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch {
    return undefined;
  }
}
