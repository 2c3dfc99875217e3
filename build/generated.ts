/**
 * Every generated file of this repository as a map from path to text, made in memory, so that
 * the command which writes them and the test which compares them cannot disagree.
 *
 * Pure but for reading the sources it is made from; never writes.
 */
import { dump } from 'js-yaml';
import { customResourceDefinition, KINDS } from '../src/crds/generate/customResourceDefinition.ts';

/** Deterministic YAML, safe for parsers of YAML 1.1 too. */
export function yaml(value: unknown): string {
  return dump(value, { lineWidth: -1, noRefs: true });
}

const generatedBy = (source: string): string =>
  `# Generated from ${source} by "npm run generate". Do not edit.\n`;

/** Path relative to the top of the repository → contents. */
export function generatedFiles(): Map<string, string> {
  const files = new Map<string, string>();
  for (const kind of KINDS) {
    const text = generatedBy('src/crds') + yaml(customResourceDefinition(kind));
    files.set(`charts/kata-operator/files/crds/${kind.plural}.yaml`, text);
    files.set(`manifests/crds/${kind.plural}.yaml`, text);
  }
  return files;
}
