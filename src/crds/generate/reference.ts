/**
 * The reference of one kind as Markdown, from the same schema that the API server gets.
 * Owns the layout; every word of a description comes from the schema.
 */
import { API_VERSION } from '../names.ts';
import { NOT_IMPLEMENTED } from '../notImplemented.ts';
import type { Kind } from './customResourceDefinition.ts';
import type { StructuralSchema } from './structural.ts';

const GENERATED = '<!-- Generated from src/crds by "npm run generate". Do not edit. -->';

/** Text of docs/reference/<kind>.md. */
export function kindReference(kind: Kind): string {
  const { spec, status } = kind.schema.properties ?? {};
  const rules = kind.schema['x-kubernetes-validations'] ?? [];
  return [
    GENERATED,
    '',
    `# ${kind.kind}`,
    '',
    kind.description,
    '',
    `\`apiVersion: ${API_VERSION}\`, \`kind: ${kind.kind}\`; cluster-scoped; \`kubectl get ${kind.plural}\`, or ${kind.shortNames.map((name) => `\`${name}\``).join(', ')}.`,
    ...rules.map(({ message }) => `\n\`metadata\`: ${message}.`),
    ...section('spec', spec),
    ...section('status', status),
    ...columns(kind),
    '',
  ].join('\n');
}

function section(name: string, schema: StructuralSchema | undefined): string[] {
  if (schema === undefined) return [];
  const rows = fields(name, schema);
  const head = ['', `## ${name}`, '', sentence(schema.description), ''];
  const table = ['| Field | Type | Default | Description |', '| --- | --- | --- | --- |'];
  return [...head, ...table, ...rows, ...rulesOf(name, schema)];
}

function fields(path: string, schema: StructuralSchema): string[] {
  const required = new Set(schema.required);
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const at = `${path}.${name}`;
    return [row(at, property, required.has(name)), ...below(at, property)];
  });
}

function below(path: string, schema: StructuralSchema): string[] {
  if (schema.items !== undefined) return below(`${path}[]`, schema.items);
  return schema.properties === undefined ? [] : fields(path, schema);
}

function row(path: string, schema: StructuralSchema, required: boolean): string {
  const notes = [
    sentence(schema.description),
    ...(schema.enum === undefined
      ? []
      : [`One of ${schema.enum.map((one) => code(one)).join(', ')}.`]),
    ...bounds(schema),
    ...messages(schema),
    ...(NOT_IMPLEMENTED.includes(path)
      ? ['**Not acted on by this version**: refused unless left at its default.']
      : []),
  ];
  const name = `\`${path}\`${required ? ' (required)' : ''}`;
  return `| ${name} | ${typeOf(schema)} | ${shownDefault(schema)} | ${notes.filter(Boolean).join(' ').replaceAll('|', '\\|')} |`;
}

function typeOf(schema: StructuralSchema): string {
  if (schema['x-kubernetes-int-or-string'] === true) return 'integer or string';
  if (schema.items !== undefined) return `${typeOf(schema.items)}[]`;
  if (schema.additionalProperties !== undefined)
    return `map of ${typeOf(schema.additionalProperties)}`;
  if (schema['x-kubernetes-preserve-unknown-fields'] === true) return 'map of anything';
  return schema.type ?? '';
}

function shownDefault({ default: value }: StructuralSchema): string {
  const isEmptyObject = JSON.stringify(value) === '{}';
  return value === undefined || isEmptyObject ? '' : code(value);
}

function bounds(schema: StructuralSchema): string[] {
  const { minimum, maximum, minItems, maxItems, maxProperties, maxLength } = schema;
  return [
    ...range('', minimum, maximum, ''),
    ...range('', minItems, maxItems, ' entries'),
    ...range('', undefined, maxProperties, ' entries'),
    ...(schema.enum === undefined ? range('', undefined, maxLength, ' characters') : []),
  ];
}

function range(
  before: string,
  low: number | undefined,
  high: number | undefined,
  unit: string,
): string[] {
  if (low !== undefined && high !== undefined)
    return [`${before}${String(low)} to ${String(high)}${unit}.`];
  if (high !== undefined) return [`${before}At most ${String(high)}${unit}.`];
  return low === undefined ? [] : [`${before}At least ${String(low)}${unit}.`];
}

/** Rules of the value itself and, for lists, of each entry. */
function messages(schema: StructuralSchema): string[] {
  const own = schema['x-kubernetes-validations'] ?? [];
  const ofItems = schema.items?.['x-kubernetes-validations'] ?? [];
  const ofValues = schema.additionalProperties?.['x-kubernetes-validations'] ?? [];
  return [
    ...own.map(({ message }) => sentence(capital(message))),
    ...ofItems.map(({ message }) =>
      sentence(message.startsWith('must') ? `Each ${message}` : capital(message)),
    ),
    ...ofValues.map(({ message }) => sentence(`Each value ${message}`)),
  ];
}

function rulesOf(name: string, schema: StructuralSchema): string[] {
  const rules = schema['x-kubernetes-validations'] ?? [];
  return rules.map(({ message }) => `\n\`${name}\`: ${sentence(message)}`);
}

function columns(kind: Kind): string[] {
  const rows = kind.columns.map(
    ({ name, jsonPath, description, priority }) =>
      `| ${name.toUpperCase()} | \`${jsonPath}\` | ${description ?? ''}${priority === 1 ? ' (`-o wide`)' : ''} |`,
  );
  return ['', '## Columns', '', '| Column | Field | Meaning |', '| --- | --- | --- |', ...rows];
}

const code = (value: unknown): string =>
  `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``;
const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
const sentence = (text = ''): string => (text === '' || /[.!?]$/.test(text) ? text : `${text}.`);
