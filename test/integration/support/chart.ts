/** The chart as Kubernetes objects: renders it with values and reads what comes out. */
import { join } from 'node:path';
import { loadAll } from 'js-yaml';
import { z } from 'zod';
import { ASSUMED_KUBERNETES } from '../../../build/installManifest.ts';
import { binary } from './apiServer.ts';
import { run, type Completed } from './run.ts';

export const CHART = join(import.meta.dirname, '../../../charts/kata-operator');
export const NAMESPACE = 'kata-operator';

const kubernetesObject = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({
    name: z.string(),
    namespace: z.string().optional(),
    labels: z.record(z.string(), z.string()).default({}),
    annotations: z.record(z.string(), z.string()).default({}),
  }),
});
export type KubernetesObject = z.infer<typeof kubernetesObject>;

export const helm = (args: readonly string[], stdin?: string): Promise<Completed> =>
  run(binary('helm'), args, stdin);

/** Runs `helm template` with these values; the exit code tells whether it rendered. */
export function template(values: object, namespace = NAMESPACE): Promise<Completed> {
  const args = ['template', 'release', CHART, `--namespace=${namespace}`, '--values=-'];
  return helm([...args, `--kube-version=${ASSUMED_KUBERNETES}`], JSON.stringify(values));
}

/** The objects of the chart with these values, hooks among them. Throws what helm says when it fails. */
export async function render(values: object = {}): Promise<KubernetesObject[]> {
  const { code, stdout, stderr } = await template(values);
  if (code !== 0) throw new Error(stderr);
  return parseObjects(stdout);
}

/** Every object of a stream of YAML documents; empty ones are left out. */
export function parseObjects(yaml: string): KubernetesObject[] {
  return loadAll(yaml)
    .filter((one) => one !== null)
    .map((one) => kubernetesObject.parse(one));
}

/** The only object of that kind and name. Throws when there is none, or more. */
export function find(
  objects: readonly KubernetesObject[],
  kind: string,
  name: string,
): KubernetesObject {
  const found = objects.filter((one) => one.kind === kind && one.metadata.name === name);
  const [object] = found;
  if (object === undefined || found.length > 1) {
    throw new Error(`${String(found.length)} objects ${kind}/${name}`);
  }
  return object;
}
