/** `npm run generate`: writes every generated file. A file that is up to date is left alone. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { generatedFiles } from './generated.ts';

const top = join(import.meta.dirname, '..');

for (const [path, text] of generatedFiles()) {
  const file = join(top, path);
  const present = await readFile(file, 'utf8').catch(() => undefined);
  if (present === text) continue;
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
  process.stdout.write(`${path}\n`);
}
