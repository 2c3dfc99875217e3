/**
 * Errors of the file system in the words of the error table. Knows errno names, nothing else.
 */
import { KataError, causeOf } from '../../errors.ts';

const WORDS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EDQUOT: 'the quota is used up',
  EIO: 'the device reports an input/output error',
  EMFILE: 'too many open files',
  ENOENT: 'no such file or directory',
  ENOSPC: 'no space left on the device',
  ENOTDIR: 'not a directory',
  EPERM: 'operation not permitted',
  EROFS: 'the file system is read-only',
  ELOOP: 'too many levels of symbolic links',
};

/** Narrows what a file operation threw. `path` is a path on the host: the error's own may lie under a mount. */
export function ioError(path: string, thrown: unknown): KataError {
  if (thrown instanceof KataError) return thrown;
  const code = errnoOf(thrown);
  if (code === 'EROFS')
    return new KataError(
      'KATA_E_NOT_WRITABLE',
      { path, cause: 'the file system is read-only' },
      { cause: thrown },
    );
  const cause = (code === undefined ? undefined : WORDS[code]) ?? causeOf(thrown);
  return new KataError('KATA_E_IO', { path, cause }, { cause: thrown });
}

/** `ENOSPC` and the like. */
export function errnoOf(thrown: unknown): string | undefined {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string'
    ? thrown.code
    : undefined;
}
