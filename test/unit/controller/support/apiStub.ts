/**
 * The lists, watches and writes that a controller needs to run over real sockets. It keeps what it is given and
 * tells it to the watches only when the test says so: a cache can be made to lag.
 */
import type { KubeObject } from '../../../../src/kube/resource.ts';
import {
  failure,
  json,
  LiveWatch,
  ScriptedServer,
  type Received,
  type Step,
} from '../../kube/scriptedServer.ts';

const GROUP = '/apis/kata-operator.dev/v1alpha1';
export const PATHS = {
  deployments: `${GROUP}/katadeployments`,
  kataNodes: `${GROUP}/katanodes`,
  nodes: '/api/v1/nodes',
  pods: '/api/v1/namespaces/kata-nodes/pods',
  configMaps: '/api/v1/namespaces/kata-nodes/configmaps',
  daemonSets: '/apis/apps/v1/namespaces/kata-nodes/daemonsets',
  runtimeClasses: '/apis/node.k8s.io/v1/runtimeclasses',
} as const;
export type Collection = keyof typeof PATHS;

export class ApiStub {
  readonly server: ScriptedServer;
  readonly watches: Readonly<Record<Collection, LiveWatch>>;

  private constructor(
    server: ScriptedServer,
    objects: Readonly<Partial<Record<Collection, readonly KubeObject[]>>>,
  ) {
    this.server = server;
    const watches = (Object.keys(PATHS) as Collection[]).map((collection) => {
      const watch = new LiveWatch();
      const items = objects[collection] ?? [];
      server.on(`GET ${PATHS[collection]}`, json({ metadata: { resourceVersion: '100' }, items }));
      server.on(`WATCH ${PATHS[collection]}`, watch.step);
      return [collection, watch] as const;
    });
    this.watches = Object.fromEntries(watches) as Record<Collection, LiveWatch>;
    server.on('POST /apis/events.k8s.io/v1/namespaces/default/events', echo('1'));
  }

  static async start(
    objects: Readonly<Partial<Record<Collection, readonly KubeObject[]>>>,
  ): Promise<ApiStub> {
    return new ApiStub(await ScriptedServer.start(), objects);
  }

  /** Applies to the object of this name, in order; the last answer is repeated. */
  onApply(collection: Collection, nameAndSubresource: string, ...steps: Step[]): void {
    this.server.on(`PATCH ${PATHS[collection]}/${nameAndSubresource}`, ...steps);
  }

  applies(collection: Collection, nameAndSubresource: string): Received[] {
    return this.server.seen(`PATCH ${PATHS[collection]}/${nameAndSubresource}`);
  }
}

/** Takes the write and gives the object this version. */
export function echo(resourceVersion: string): Step {
  return (response, request) => {
    const object = JSON.parse(request.body) as KubeObject;
    const metadata = { ...object.metadata, resourceVersion };
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ ...object, metadata }));
  };
}

/** As an admission webhook does, or a schema. */
export const refused: Step = failure(422, 'Invalid', 'denied');
