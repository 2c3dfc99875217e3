/**
 * Which Pods of users still use our classes: looked up in the API when something is to be taken away, as the
 * controller watches no Pods but its own. Owns what is asked, how often, and how long an answer holds.
 *
 * A cluster may have tens of thousands of Pods: a page is reduced to names before the next one is read.
 * What was not looked up has no entry: it must never be taken for unused.
 */
import { REMOVE } from '../../crds/names.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { Clock } from '../../kube/clock.ts';
import { PODS, type KubeObject } from '../../kube/resource.ts';
import { isAdvertised } from '../nodes/labels.ts';
import { isSelected } from '../nodes/selection.ts';
import { classNames } from '../runtimeclass/desired.ts';
import type { Observed, SandboxUsage } from './observed.ts';

/** What has to be known before anything goes on. */
export interface UsageQuestion {
  readonly nodes: ReadonlySet<string>;
  readonly classes: ReadonlySet<string>;
}

interface Answer {
  readonly usage: SandboxUsage;
  /** Monotonic, at the end of the list. */
  readonly atMs: number;
}

/** A list of all Pods costs the API server more than anything else we ask: at most one in so long. */
export const MIN_INTERVAL_MS = 3_000;
/** A page of Pods of 10 kB each is 1 MB on the wire and some 5 MB in memory. */
const PAGE_SIZE = 100;

const NOTHING_LOOKED_UP: SandboxUsage = { byNode: new Map(), byClass: new Map() };

export class UsageLookup {
  readonly #client: KubeClient;
  readonly #clock: Clock;
  /** By KataDeployment. */
  readonly #answers = new Map<string, Answer>();
  readonly #putOff = new Set<string>();

  constructor(options: { client: KubeClient; clock: Clock }) {
    this.#client = options.client;
    this.#clock = options.clock;
  }

  /**
   * What is known about what is asked; `ours` are the names of the classes that count. Of an answer that is
   * reused, only that part is kept which was asked every time since: what was let go in between may have changed.
   */
  async answer(
    deployment: string,
    question: UsageQuestion,
    ours: ReadonlySet<string>,
    signal: AbortSignal,
  ): Promise<SandboxUsage> {
    this.#putOff.delete(deployment);
    const known = this.#answers.get(deployment);
    const isRecent = known !== undefined && this.#ageMs(known) < MIN_INTERVAL_MS;
    const kept = isRecent ? about(question, known.usage) : NOTHING_LOOKED_UP;
    const isWhole =
      kept.byNode.size === question.nodes.size && kept.byClass.size === question.classes.size;
    if (isRecent || isWhole) {
      if (!isWhole) this.#putOff.add(deployment);
      if (known !== undefined) this.#answers.set(deployment, { usage: kept, atMs: known.atMs });
      return kept;
    }
    const usage = await this.#lookUp(question, ours, signal);
    this.#answers.set(deployment, { usage, atMs: this.#clock.monotonicMs() });
    return usage;
  }

  /** When a question that was put off can be asked again, in milliseconds from now. */
  askAgainAfterMs(deployment: string): number | undefined {
    const known = this.#answers.get(deployment);
    if (known === undefined || !this.#putOff.has(deployment)) return undefined;
    return Math.max(0, MIN_INTERVAL_MS - this.#ageMs(known));
  }

  /** There is no such KataDeployment any more. */
  forget(deployment: string): void {
    this.#answers.delete(deployment);
    this.#putOff.delete(deployment);
  }

  #ageMs({ atMs }: Answer): number {
    return this.#clock.monotonicMs() - atMs;
  }

  async #lookUp(
    { nodes, classes }: UsageQuestion,
    ours: ReadonlySet<string>,
    signal: AbortSignal,
  ): Promise<SandboxUsage> {
    let byNode = emptyLists(nodes);
    let byClass = emptyLists(classes);
    const selection = {
      fieldSelector: 'status.phase!=Succeeded,status.phase!=Failed',
      limit: PAGE_SIZE,
    };
    for await (const page of this.#client.pages(PODS, selection, signal)) {
      if (page.restarted) {
        byNode = emptyLists(nodes);
        byClass = emptyLists(classes);
      }
      for (const pod of page.items) {
        const runtimeClass = specText(pod, 'runtimeClassName');
        if (runtimeClass === undefined || !ours.has(runtimeClass)) continue;
        const name = `${pod.metadata.namespace ?? ''}/${pod.metadata.name}`;
        byClass.get(runtimeClass)?.push(name);
        byNode.get(specText(pod, 'nodeName') ?? '')?.push(name);
      }
    }
    return { byNode, byClass };
  }
}

/** Nodes that wait for their sandboxes to end, and classes that wait for their last Pod. */
export function usageQuestion(o: Omit<Observed, 'usage'>): UsageQuestion {
  const { deployment, parsed } = o;
  if (!parsed.ok && !deployment.deleting) return { nodes: new Set(), classes: new Set() };
  const isLeaving = (node: Observed['nodes'][number]): boolean =>
    deployment.deleting || (parsed.ok && !isSelected(node, parsed.spec.nodes));
  const nodes = o.nodes.filter((node) => {
    const kataNode = o.kataNodes.get(node.name);
    return (
      kataNode?.spec.deployment === deployment.name &&
      !kataNode.deleting &&
      kataNode.spec.revision !== REMOVE &&
      isLeaving(node) &&
      !isAdvertised(node.labels)
    );
  });
  return {
    nodes: new Set(nodes.map(({ name }) => name)),
    classes: new Set(classesToGo(o)),
  };
}

function classesToGo(o: Omit<Observed, 'usage'>): string[] {
  const { deployment, parsed } = o;
  const there = o.runtimeClasses.filter((view) => !view.deleting).map((view) => view.name);
  if (!deployment.deleting) {
    const wanted = parsed.ok ? classNames(parsed.spec) : there;
    return there.filter((name) => !wanted.includes(name));
  }
  // Classes go last: Pods of theirs may still be ending on a node.
  const nodesLeft = [...o.kataNodes.values()].some(
    ({ spec, deleting }) => spec.deployment === deployment.name && !deleting,
  );
  return nodesLeft ? [] : there;
}

/** The part of an answer that is asked for. */
function about({ nodes, classes }: UsageQuestion, usage: SandboxUsage): SandboxUsage {
  const asked = (
    from: ReadonlyMap<string, readonly string[]>,
    wanted: ReadonlySet<string>,
  ): Map<string, readonly string[]> => new Map([...from].filter(([name]) => wanted.has(name)));
  return { byNode: asked(usage.byNode, nodes), byClass: asked(usage.byClass, classes) };
}

function emptyLists(names: ReadonlySet<string>): Map<string, string[]> {
  return new Map([...names].map((name) => [name, []]));
}

function specText(pod: KubeObject, key: string): string | undefined {
  const spec = pod['spec'];
  const value: unknown =
    typeof spec === 'object' && spec !== null ? Reflect.get(spec, key) : undefined;
  return typeof value === 'string' && value !== '' ? value : undefined;
}
