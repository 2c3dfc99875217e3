import type { NodePodSettings } from '../../../../src/controller/revision/objects.ts';

/** What the chart tells a controller about the Pods that it makes on nodes, with nothing out of the ordinary. */
export const NODE_POD_SETTINGS: NodePodSettings = {
  namespace: 'kata-nodes',
  image: 'node:1',
  imagePullPolicy: 'IfNotPresent',
  serviceAccount: 'default',
  priorityClass: undefined,
  imagePullSecrets: [],
};
