/** How an editor says no: by an error of the table that names the file and quotes nothing of it. */
import assert from 'node:assert/strict';
import { KataError } from '../../src/errors.ts';

/** Stands in files where a password would. */
export const SECRET = 'hunter2';

/** The result, or undefined when it was refused as it should be. */
export function unlessRefused<Result>(file: string, work: () => Result): Result | undefined {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof KataError)) throw error;
    assert.match(error.code, /^KATA_E_(ENGINE_CONFIG_(INVALID|CONFLICT)|CONFIG_EDITED)$/);
    assert.ok(error.message.startsWith(file), `the file is not named: ${error.message}`);
    assert.ok(!error.message.includes(SECRET), `a secret is told: ${error.message}`);
    return undefined;
  }
}
