/**
 * Lays out what one of our images adds to its base:  node build/imageTree.ts node|controller DIRECTORY
 *   DIRECTORY/runtime   what changes with a release of Node.js: a layer that stays
 *   DIRECTORY/program   what changes with ours
 * Owns the paths inside the images, which the controller renders containers from. Never reads a binary
 * from anywhere but this checkout.
 */
import { chmod, copyFile, mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundle, BUNDLES, type BundleName } from './bundle.ts';
import { compileHelper } from './helper.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

export const IMAGE_NAMES = ['node', 'controller'] as const;
export type ImageName = (typeof IMAGE_NAMES)[number];

interface Layout {
  /** Paths inside the image. */
  readonly nodeBinary: string;
  readonly bundle: BundleName;
  readonly bundlePath: string;
  readonly helperPath?: string;
}

const LAYOUTS: Readonly<Record<ImageName, Layout>> = {
  node: {
    nodeBinary: 'kata/bin/node',
    bundle: 'kata-node.mjs',
    bundlePath: 'kata/kata-node.mjs',
    helperPath: 'kata/bin/kata-helper',
  },
  controller: {
    nodeBinary: 'usr/local/bin/node',
    bundle: 'controller.mjs',
    bundlePath: 'app/controller.mjs',
  },
};

/** Writes the tree of an image below `directory`. Throws when a part of it cannot be made. */
export async function layOutImage(image: ImageName, directory: string): Promise<void> {
  const layout = LAYOUTS[image];
  await install(nodeBinary(), join(directory, 'runtime', layout.nodeBinary), 0o755);
  const program = join(directory, 'program');
  const target = join(program, layout.bundlePath);
  await bundle(join(ROOT, BUNDLES[layout.bundle]), target, { sourceMap: false });
  if (layout.helperPath !== undefined) await compileHelper(join(program, layout.helperPath));
  await install(join(ROOT, 'LICENSE'), join(dirname(target), 'LICENSE'), 0o644);
}

/** The Node.js that package-lock.json names for this machine; on others, the one that runs this. */
export function nodeBinary(): string {
  const require = createRequire(import.meta.url);
  try {
    const manifest = require.resolve(`node-linux-${process.arch}/package.json`);
    return join(dirname(manifest), 'bin/node');
  } catch {
    const version = process.versions.node;
    if (version.startsWith('24.')) return process.execPath;
    throw new Error(`no Node.js 24 for ${process.arch}: run npm ci, or run this with Node.js 24`);
  }
}

async function install(source: string, target: string, mode: number): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  await copyFile(source, target);
  await chmod(target, mode);
}

if (import.meta.main) {
  const [image, directory] = process.argv.slice(2);
  const name = IMAGE_NAMES.find((candidate) => candidate === image);
  if (name === undefined || directory === undefined) {
    console.error(`usage: node build/imageTree.ts ${IMAGE_NAMES.join('|')} DIRECTORY`);
    process.exit(2);
  }
  await layOutImage(name, directory);
}
