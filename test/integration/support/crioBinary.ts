/**
 * A real CRI-O, built from its Go module by its own go.sum, without the libraries that need C. Kept in the cache.
 */
import { execFile } from 'node:child_process';
import { access, cp, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { findGo } from '../../../e2e/cluster/go.ts';
import { CACHE } from '../../../e2e/cluster/paths.ts';

const VERSION = 'v1.34.0';
const TAGS = 'containers_image_openpgp exclude_graphdriver_btrfs';
const BUILD_TIMEOUT_MS = 600_000;
const execute = promisify(execFile);

const downloaded = z.object({ Dir: z.string() });

/** Path of the binary. Rejects with the reason where it cannot be had. */
export async function crioBinary(): Promise<string> {
  const binary = join(CACHE, 'engines', `crio-${VERSION}`, 'crio');
  await access(binary).catch(() => build(binary));
  return binary;
}

async function build(binary: string): Promise<void> {
  const go = await findGo();
  const work = await mkdtemp(join(tmpdir(), 'ko-crio-'));
  const options = {
    timeout: BUILD_TIMEOUT_MS,
    maxBuffer: 16 * 1024 * 1024,
    env: { ...process.env, ...go.env },
  };
  try {
    const module = `github.com/cri-o/cri-o@${VERSION}`;
    const { stdout } = await execute(go.path, ['mod', 'download', '-json', module], {
      ...options,
      cwd: work,
    });
    const source = join(work, 'source');
    await cp(downloaded.parse(JSON.parse(stdout)).Dir, source, { recursive: true });
    await execute('chmod', ['-R', 'u+w', source]);
    const output = join(work, 'crio');
    await execute(go.path, ['build', '-tags', TAGS, '-o', output, './cmd/crio'], {
      ...options,
      cwd: source,
    });
    await mkdir(dirname(binary), { recursive: true });
    await rename(output, `${binary}.new`).catch(() => cp(output, `${binary}.new`));
    await rename(`${binary}.new`, binary);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
