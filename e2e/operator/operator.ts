/**
 * The operator on a cluster, as a user puts it there: helm install, kubectl apply, and looking at what comes.
 *
 * Owns the commands. It must never reach into the operator: what it reports is read from the API.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { KubeTools } from '../cluster/kubeTools.ts';
import { waitUntil } from '../cluster/wait.ts';

export const RELEASE = 'kata-operator';
export const RELEASE_NAMESPACE = 'kata-operator';
export const NODE_NAMESPACE = 'kata-operator-nodes';

const ROOT = join(import.meta.dirname, '../..');
export const CHART = join(ROOT, 'charts/kata-operator');
export const SAMPLES = join(ROOT, 'manifests/samples');

export interface OperatorImages {
  /** `repository:tag` */
  readonly controller: string;
  readonly node: string;
}

const kataNodeList = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ name: z.string() }),
      spec: z.object({ claimedAt: z.string().optional() }),
      status: z
        .object({
          phase: z.string(),
          since: z.string().optional(),
          attempt: z.string().optional(),
          revision: z.string().optional(),
          handlers: z.array(z.string()).default([]),
          engine: z.object({ name: z.string(), version: z.string() }).optional(),
          engineRestarts: z.number().default(0),
          outageMs: z.number().optional(),
          bytesWritten: z.number().optional(),
          kernel: z.string().optional(),
          error: z.object({ reason: z.string(), message: z.string(), step: z.string() }).optional(),
          steps: z
            .array(
              z.object({
                stage: z.string(),
                name: z.string(),
                ms: z.number(),
                changed: z.boolean(),
              }),
            )
            .default([]),
        })
        .optional(),
    }),
  ),
});
export type KataNodeReport = z.infer<typeof kataNodeList>['items'][number];

const conditions = z.object({
  status: z
    .object({
      conditions: z
        .array(
          z.object({
            type: z.string(),
            status: z.string(),
            reason: z.string(),
            message: z.string(),
          }),
        )
        .default([]),
    })
    .prefault({}),
});
export type ConditionReport = z.infer<typeof conditions>['status']['conditions'][number];

export class Operator {
  readonly #cluster: KubeTools;

  constructor(cluster: KubeTools) {
    this.#cluster = cluster;
  }

  /** `helm upgrade --install`, and waits until the controller is ready. */
  async install(images: OperatorImages, values: readonly string[] = []): Promise<void> {
    const set = (name: string, reference: string): string[] => {
      const colon = reference.lastIndexOf(':');
      return [
        ...['--set', `${name}.repository=${reference.slice(0, colon)}`],
        ...['--set', `${name}.tag=${reference.slice(colon + 1)}`],
        ...['--set', `${name}.pullPolicy=Never`],
      ];
    };
    await this.#cluster.helm(
      [
        ...['upgrade', '--install', RELEASE, CHART],
        ...['--namespace', RELEASE_NAMESPACE, '--create-namespace'],
        ...set('image', images.controller),
        ...set('nodeImage', images.node),
        ...values.flatMap((value) => ['--set', value]),
        ...['--wait', '--timeout', '180s'],
      ],
      { timeoutMs: 240_000 },
    );
  }

  async apply(manifest: string | object): Promise<void> {
    const input = typeof manifest === 'string' ? manifest : JSON.stringify(manifest);
    await this.#cluster.kubectl(['apply', '-f', '-'], { input });
  }

  async waitAvailable(name: string, timeoutMs: number): Promise<void> {
    await this.#cluster.kubectl(
      [
        'wait',
        `katadeployment/${name}`,
        '--for=condition=Available',
        `--timeout=${Math.round(timeoutMs / 1000)}s`,
      ],
      {
        timeoutMs: timeoutMs + 10_000,
      },
    );
  }

  async kataNodes(): Promise<KataNodeReport[]> {
    return kataNodeList.parse(
      JSON.parse(await this.#cluster.kubectl(['get', 'katanodes', '-o', 'json'])),
    ).items;
  }

  async kataNode(name: string): Promise<KataNodeReport | undefined> {
    return (await this.kataNodes()).find((node) => node.metadata.name === name);
  }

  async condition(deployment: string, type: string): Promise<ConditionReport | undefined> {
    const text = await this.#cluster.kubectl(['get', 'katadeployment', deployment, '-o', 'json']);
    return conditions
      .parse(JSON.parse(text))
      .status.conditions.find((condition) => condition.type === type);
  }

  /** Waits until a condition has the reason, and returns it. */
  async waitReason(
    deployment: string,
    type: string,
    reason: string,
    timeoutMs = 120_000,
  ): Promise<ConditionReport> {
    return waitUntil(
      `${deployment} ${type}/${reason}`,
      async () => {
        const condition = await this.condition(deployment, type);
        return condition?.reason === reason
          ? { value: condition }
          : { waitingFor: `${condition?.reason ?? 'no condition'}: ${condition?.message ?? ''}` };
      },
      { timeoutMs },
    );
  }

  async waitPhase(node: string, phase: string, timeoutMs = 180_000): Promise<KataNodeReport> {
    return waitUntil(
      `${node} ${phase}`,
      async () => {
        const seen = await this.kataNode(node);
        if (seen?.status?.phase === phase) return { value: seen };
        return {
          waitingFor: `${seen?.status?.phase ?? 'no status'} ${seen?.status?.error?.message ?? ''}`,
        };
      },
      { timeoutMs },
    );
  }

  /** Deletes and waits until the object is gone. */
  async remove(name: string, timeoutMs = 180_000): Promise<void> {
    await this.#cluster.kubectl(
      [
        'delete',
        'katadeployment',
        name,
        '--ignore-not-found',
        `--timeout=${Math.round(timeoutMs / 1000)}s`,
      ],
      {
        timeoutMs: timeoutMs + 10_000,
      },
    );
  }

  /** Runs a Pod to its end and returns its output. The object may name `runtimeClassName` and `nodeName`. */
  async podOutput(
    namespace: string,
    pod: { readonly metadata: { readonly name: string } },
    timeoutMs = 120_000,
  ): Promise<string> {
    const { name } = pod.metadata;
    await this.apply({ ...pod, metadata: { ...pod.metadata, namespace } });
    await this.waitPod(namespace, name, 'Succeeded', timeoutMs);
    return (await this.#cluster.kubectl(['-n', namespace, 'logs', name])).trim();
  }

  async waitPod(
    namespace: string,
    name: string,
    phase: string,
    timeoutMs = 120_000,
  ): Promise<void> {
    await waitUntil(
      `Pod ${namespace}/${name} ${phase}`,
      async () => {
        const seen = await this.#cluster.kubectl([
          '-n',
          namespace,
          'get',
          'pod',
          name,
          '-o',
          'jsonpath={.status.phase}',
        ]);
        if (seen === phase) return { value: undefined };
        const events = await this.#cluster.kubectl([
          '-n',
          namespace,
          'get',
          'events',
          '--field-selector',
          `involvedObject.name=${name}`,
          '-o',
          'jsonpath={.items[-1:].message}',
        ]);
        return { waitingFor: `phase ${seen}; last event: ${events}` };
      },
      { timeoutMs },
    );
  }

  async deletePod(namespace: string, name: string): Promise<void> {
    await this.#cluster.kubectl([
      '-n',
      namespace,
      'delete',
      'pod',
      name,
      '--ignore-not-found',
      '--grace-period=1',
      '--timeout=60s',
    ]);
  }

  /** Lets time pass so that something which must not happen would have had the chance. */
  async holdsFor(ms: number): Promise<void> {
    await sleep(ms);
  }
}
