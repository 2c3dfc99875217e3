/**
 * Where the harness keeps what it makes: one directory, safe to delete when no cluster runs.
 *
 * Owns the names of places. It must never point outside the repository, except where
 * KATA_OPERATOR_CACHE says so.
 */
import { join, resolve } from 'node:path';

export const REPOSITORY = resolve(import.meta.dirname, '../..');

export const CACHE = resolve(process.env['KATA_OPERATOR_CACHE'] ?? join(REPOSITORY, '.cache'));

/** Binaries built from Go modules. */
export const BIN = join(CACHE, 'bin');

export const COMPONENTS = join(REPOSITORY, 'e2e/components');

/** Files that become part of the node and control plane images. */
export const IMAGE_FILES = join(REPOSITORY, 'e2e/cluster/image');

export const clusterDirectory = (name: string): string => join(CACHE, 'clusters', name);
