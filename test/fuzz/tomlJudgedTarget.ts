/** What a second strict parser makes of the edited file. */
import assert from 'node:assert/strict';
import { decodeToml, isToml } from '../../src/node/toml/document.ts';
import { damaged } from './mutate.ts';
import { unlessRefused } from './refusal.ts';
import { type FuzzTarget, fuzzTarget } from './target.ts';
import { TomlJudge } from './tomlJudge.ts';
import { install, PIECES, TABLES, texts, TOML_FILE } from './tomlTarget.ts';

const damagedTexts = damaged(texts, PIECES);

/** With a process of Python's for as long as it runs. */
export const tomlJudgedTarget: FuzzTarget = {
  name: 'toml-python',
  run: async (options) => {
    const judge = new TomlJudge();
    try {
      return await fuzzTarget('toml-python', damagedTexts, (bytes) => holds(bytes, judge)).run(
        options,
      );
    } finally {
      await judge.end();
    }
  },
};

async function holds(bytes: Buffer, judge: TomlJudge): Promise<string> {
  const text = unlessRefused(TOML_FILE, () => decodeToml(bytes, TOML_FILE));
  if (text === undefined) return 'not UTF-8';
  const installed = unlessRefused(TOML_FILE, () => install(text));
  // With a block of ours in it already, there is nothing to compare.
  if (installed === undefined || installed === text)
    return isToml(text) ? 'conflict' : await strictness(text, judge);
  const verdict = await judge.compare(text, installed, TABLES);
  assert.ok(verdict === 'same' || verdict === 'unread', verdict);
  return verdict;
}

/** Refusing more than others do is safe; it is counted. */
async function strictness(text: string, judge: TomlJudge): Promise<string> {
  const verdict = await judge.compare(text, text, []);
  return verdict === 'unread' ? 'invalid' : 'invalid to us alone';
}
