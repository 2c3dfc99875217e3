/**
 * Every generated file of this repository as a map from path to text, made in memory, so that
 * the command which writes them and the test which compares them cannot disagree.
 *
 * Reads the sources they are made from and never writes. manifests/install.yaml is apart: it needs helm.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dump } from 'js-yaml';
import { customResourceDefinition, KINDS } from '../src/crds/generate/customResourceDefinition.ts';
import { kindReference } from '../src/crds/generate/reference.ts';
import { chartReadme } from './chartReadme.ts';
import { errorReference } from './errorReference.ts';
import { outputSchema } from './outputSchema.ts';
import { runtimeReference } from './runtimeReference.ts';

/** Deterministic YAML, safe for parsers of YAML 1.1 too. */
export function yaml(value: unknown): string {
  return dump(value, { lineWidth: -1, noRefs: true });
}

export const generatedBy = (source: string): string =>
  `# Generated from ${source} by "npm run generate". Do not edit.\n`;

const CHART = 'charts/kata-operator';

/** Path relative to `top`, the top of the repository → contents. */
export async function generatedFiles(top: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const kind of KINDS) {
    const definition = customResourceDefinition(kind);
    files.set(`manifests/crds/${kind.plural}.yaml`, generatedBy('src/crds') + yaml(definition));
    files.set(
      `${CHART}/files/crds/${kind.plural}.yaml`,
      generatedBy('src/crds') + yaml(keptByHelm(definition)),
    );
    files.set(`docs/reference/${kind.singular}.md`, kindReference(kind));
  }
  files.set('docs/reference/errors.md', errorReference());
  files.set('docs/reference/kata-node.schema.json', outputSchema());
  files.set('docs/reference/runtimes.md', runtimeReference());
  files.set(
    `${CHART}/README.md`,
    chartReadme(await readFile(join(top, CHART, 'values.yaml'), 'utf8')),
  );
  return files;
}

/** Deleting a definition deletes every object of its kind: an uninstall of the chart must not. */
function keptByHelm(definition: ReturnType<typeof customResourceDefinition>): unknown {
  return {
    ...definition,
    metadata: { ...definition.metadata, annotations: { 'helm.sh/resource-policy': 'keep' } },
  };
}
