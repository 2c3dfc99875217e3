/**
 * A second opinion on edited TOML: Python's tomllib reads both texts and says whether the second is the first and
 * our tables, and nothing else. One process answers all questions; it ends with this one.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { BlockTable } from '../../src/node/toml/render.ts';

const PROGRAM = `
import json, sys, tomllib
def plain(value):
    if isinstance(value, dict): return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list): return [plain(item) for item in value]
    return [type(value).__name__, repr(value)]
def judge(question):
    try: before = tomllib.loads(question["before"])
    except Exception: return "unread"
    try: after = tomllib.loads(question["after"])
    except Exception as error: return "refused: " + str(error)
    for table in question["tables"]:
        target = before
        for key in table["path"]: target = target.setdefault(key, {})
        target.update(table["entries"])
    same = json.dumps(plain(before), sort_keys=True) == json.dumps(plain(after), sort_keys=True)
    return "same" if same else "different"
for line in sys.stdin:
    print(json.dumps(judge(json.loads(line))), flush=True)
`;

/** `unread`: it does not take the first text, so it has no opinion. */
export type Verdict = 'same' | 'different' | 'unread' | `refused: ${string}`;

export class TomlJudge {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #answers: AsyncIterator<string, undefined>;

  constructor() {
    this.#process = spawn('python3', ['-c', PROGRAM], { stdio: 'pipe' });
    this.#answers = createInterface(this.#process.stdout)[Symbol.asyncIterator]();
  }

  async compare(before: string, after: string, tables: readonly BlockTable[]): Promise<Verdict> {
    const [left, right] = [before, after].map((text) => text.replace(/^\uFEFF/, ''));
    this.#process.stdin.write(`${JSON.stringify({ before: left, after: right, tables })}\n`);
    const answer: IteratorResult<string, undefined> = await this.#answers.next();
    if (answer.done === true) throw new Error('python3 ended');
    return JSON.parse(answer.value) as Verdict;
  }

  async end(): Promise<void> {
    this.#process.stdin.end();
    await once(this.#process, 'close');
  }
}
