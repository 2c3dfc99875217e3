/**
 * README.md of the chart: a table of every value with its default and the comment above it.
 * Owns the convention: a comment that starts with `# --` describes the key below it, and goes on
 * over the comment lines that follow. A key without one is an error.
 */
import { load } from 'js-yaml';

const HEAD = `<!-- Generated from values.yaml by "npm run generate". Do not edit. -->

# kata-operator

Installs Kata Containers on the nodes of a cluster, keeps it right, and takes it back.
Kubernetes 1.30 or newer.

## Install

\`\`\`console
helm install kata-operator charts/kata-operator --namespace kata-operator --create-namespace
kubectl label namespace kata-operator pod-security.kubernetes.io/enforce=restricted
helm test kata-operator --namespace kata-operator
kubectl apply -f manifests/samples/kataDeployment.yaml
kubectl wait --for=condition=Available katadeployment/kata --timeout=30m
\`\`\`

The chart installs the controller only. Nodes are touched when the first KataDeployment is applied.

## Upgrade

\`helm upgrade\` brings the new CustomResourceDefinitions too: they are part of the templates
(\`crds.install\`). With \`crds.install: false\`, apply \`manifests/crds\` of the new version first.
There can be one release in a cluster: the names of cluster-wide objects do not depend on that of the release.

## Uninstall

\`\`\`console
kubectl delete katadeployments --all
helm uninstall kata-operator --namespace kata-operator
\`\`\`

In this order: deleting a KataDeployment has every node brought back to what it was, and the controller does
it. \`helm uninstall\` therefore refuses while one exists; the log of the Job names them:

\`\`\`console
kubectl --namespace kata-operator logs job/kata-operator-uninstall-check
\`\`\`

\`helm uninstall --no-hooks\` goes without the check and leaves the nodes as they are. The definitions stay, since
deleting them deletes the objects: \`kubectl delete crd katadeployments.kata-operator.dev katanodes.kata-operator.dev\`.
An install under another release name then needs \`--take-ownership\`.

## Values

| Value | Default | Description |
| --- | --- | --- |
`;

interface Value {
  readonly path: string;
  readonly description: string;
}

/** Throws when a value has no description, or a description no value. */
export function chartReadme(valuesYaml: string): string {
  const values = described(valuesYaml);
  const document: unknown = load(valuesYaml);
  const rows = values.map(({ path, description }) => {
    const found = JSON.stringify(valueAt(document, path));
    return `| \`${path}\` | \`${found}\` | ${description.replaceAll('|', '\\|')} |`;
  });
  for (const leaf of leaves(document, '')) {
    const isCovered = values.some(({ path }) => leaf === path || leaf.startsWith(`${path}.`));
    if (!isCovered) throw new Error(`values.yaml: ${leaf} has no description`);
  }
  return `${HEAD}${rows.join('\n')}\n`;
}

function described(text: string): Value[] {
  const values: Value[] = [];
  const parents: { indent: number; key: string }[] = [];
  let description: string | undefined;
  for (const line of text.split('\n')) {
    const comment = /^\s*# ?(-- )?(.*)$/.exec(line);
    if (comment !== null) {
      if (comment[1] !== undefined) description = comment[2];
      else if (description !== undefined) description += ` ${comment[2] ?? ''}`;
      continue;
    }
    const key = /^(\s*)([A-Za-z][A-Za-z0-9]*):/.exec(line);
    if (key === null) continue;
    const indent = key[1]?.length ?? 0;
    while ((parents.at(-1)?.indent ?? -1) >= indent) parents.pop();
    parents.push({ indent, key: key[2] ?? '' });
    if (description !== undefined) {
      values.push({ path: parents.map((parent) => parent.key).join('.'), description });
    }
    description = undefined;
  }
  return values;
}

function valueAt(document: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((value, key) => {
    if (!isMap(value) || value[key] === undefined) {
      throw new Error(`values.yaml: a description, but no value, at ${path}`);
    }
    return value[key];
  }, document);
}

/** Paths of everything that is no map, or an empty one. */
function leaves(value: unknown, path: string): string[] {
  if (!isMap(value) || Object.keys(value).length === 0) return [path];
  return Object.entries(value).flatMap(([key, child]) =>
    leaves(child, path === '' ? key : `${path}.${key}`),
  );
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
