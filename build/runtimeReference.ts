/** docs/reference/runtimes.md from the catalogue. Owns the layout; the facts are those of src/kata. */
import { CATALOGUE, type CatalogueEntry } from '../src/kata/catalogue.ts';
import { ARCHITECTURES, DEFAULT_RUNTIMES } from '../src/crds/kataDeployment.ts';

const HEAD = `<!-- Generated from src/kata/catalogue.ts by "npm run generate". Do not edit. -->

# Runtimes

Names that \`spec.runtimes[].name\` and \`spec.runtimes[].base\` of a KataDeployment may have. Each becomes the
handler and RuntimeClass \`kata-<name>\`. A KataDeployment without \`spec.runtimes\` installs
${DEFAULT_RUNTIMES.map((name) => `\`${name}\``).join(', ')}, as far as the artifacts hold them.

The overhead is what one sandbox costs beside its containers; Kubernetes adds it to the Pod's requests. The
snapshotter is the one of containerd without which the runtime cannot start a container. The archive is the
one of the Kata Containers release that holds the shim and the configuration.
`;

export function runtimeReference(): string {
  const columns = [
    'Name',
    'Shim',
    'Hypervisor',
    ...ARCHITECTURES,
    'Overhead',
    'Snapshotter',
    'Archive',
  ];
  const table = [row(columns), row(columns.map(() => '---')), ...CATALOGUE.map(entryRow)];
  const needs = CATALOGUE.filter(({ nodeSelector }) => nodeSelector !== undefined);
  return [
    HEAD,
    ...table,
    '',
    '## What a node must offer',
    '',
    'Pods of these runtimes start only on nodes with these labels, and take one of the resources each.',
    '',
    row(['Name', 'Labels', 'Resources']),
    row(['---', '---', '---']),
    ...needs.map(({ name, nodeSelector, extendedResources }) =>
      row([`\`${name}\``, pairs(nodeSelector), pairs(extendedResources)]),
    ),
    '',
  ].join('\n');
}

function entryRow(entry: CatalogueEntry): string {
  return row([
    `\`${entry.name}\``,
    entry.runtime === 'go' ? 'Go' : 'Rust',
    entry.hypervisor,
    ...ARCHITECTURES.map((one) => (entry.architectures.includes(one) ? 'yes' : '')),
    `${entry.overhead.memory}, ${entry.overhead.cpu} CPU`,
    entry.snapshotter ?? '',
    entry.archive,
  ]);
}

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

function pairs(of: Readonly<Record<string, string>> | undefined): string {
  return Object.entries(of ?? {})
    .map(([key, value]) => `\`${key}=${value}\``)
    .join(' ');
}
