/**
 * `npm run generate`: writes every generated file. A file that is up to date is left alone.
 * manifests/install.yaml needs helm: .cache/bin/helm (`node e2e/main.ts build`), or HELM.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { generatedFiles } from './generated.ts';
import { INSTALL_MANIFEST, installManifest } from './installManifest.ts';

const top = join(import.meta.dirname, '..');

async function update(path: string, text: string): Promise<void> {
  const file = join(top, path);
  const present = await readFile(file, 'utf8').catch(() => undefined);
  if (present === text) return;
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
  process.stdout.write(`${path}\n`);
}

for (const [path, text] of await generatedFiles(top)) await update(path, text);

const cache = process.env['KATA_OPERATOR_CACHE'] ?? join(top, '.cache');
const helm = process.env['HELM'] ?? join(cache, 'bin/helm');
if (existsSync(helm)) {
  await update(INSTALL_MANIFEST, await installManifest(helm, join(top, 'charts/kata-operator')));
} else {
  process.stderr.write(
    `${INSTALL_MANIFEST} is left as it is: ${helm} is missing (node e2e/main.ts build makes it, or set HELM)\n`,
  );
  process.exitCode = 1;
}
