/**
 * `npm run build`: makes dist/, all that the images are made of besides Node.js itself.
 *   dist/kata-node.mjs, dist/controller.mjs   one file each, with a source map beside it
 *   dist/fileThread.mjs                      the thread of kata-node that writes files
 *   dist/kata-helper                          static, for this machine's architecture
 * Must never skip a part silently: an image without it would fail on a node.
 */
import { build } from 'esbuild';
import { access } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compileHelper } from './helper.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

export const BUNDLES = {
  'kata-node.mjs': 'src/node/main.ts',
  'controller.mjs': 'src/controller/main.ts',
} as const;

/** What a program starts as a thread: a file of its own, beside the program under this name. */
const THREADS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'src/node/main.ts': {
    'fileThread.mjs': 'src/node/artifacts/fileThread.ts',
  },
};

export type BundleName = keyof typeof BUNDLES;

// Packages that are CommonJS call require() for Node's own modules, which ESM does not have.
const REQUIRE_BANNER =
  "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);";

/**
 * Bundles an entry file into `outputFile` for Node 24. Whitespace and syntax are minified and names
 * are kept, so that an error names the function that it is in. The notices of the packages inside are
 * in `outputFile`.LEGAL.txt. Throws when the entry is missing.
 */
export async function bundle(
  entry: string,
  outputFile: string,
  { sourceMap }: { readonly sourceMap: boolean },
): Promise<void> {
  await access(entry).catch(() => {
    throw new Error(`the entry ${entry} does not exist`);
  });
  for (const [name, thread] of Object.entries(THREADS[relative(ROOT, entry)] ?? {}))
    await bundle(join(ROOT, thread), join(dirname(outputFile), name), { sourceMap });
  await build({
    entryPoints: [entry],
    outfile: outputFile,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    minifySyntax: true,
    minifyWhitespace: true,
    keepNames: true,
    sourcemap: sourceMap ? 'external' : false,
    legalComments: 'external',
    banner: { js: REQUIRE_BANNER },
    logLevel: 'warning',
  });
}

/** Builds all of dist/ (or `directory`). */
export async function buildDist(directory = join(ROOT, 'dist')): Promise<void> {
  for (const [name, entry] of Object.entries(BUNDLES)) {
    await bundle(join(ROOT, entry), join(directory, name), { sourceMap: true });
  }
  await compileHelper(join(directory, 'kata-helper'));
}

if (import.meta.main) {
  try {
    await buildDist();
  } catch (thrown) {
    console.error(`build: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
    process.exitCode = 1;
  }
}
