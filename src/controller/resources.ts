/** Our own kinds, for the kube layer. */
import { GROUP, VERSION } from '../crds/names.ts';
import type { Resource } from '../kube/resource.ts';

export const KATA_DEPLOYMENTS: Resource = {
  group: GROUP,
  version: VERSION,
  kind: 'KataDeployment',
  plural: 'katadeployments',
  namespaced: false,
};

export const KATA_NODES: Resource = {
  group: GROUP,
  version: VERSION,
  kind: 'KataNode',
  plural: 'katanodes',
  namespaced: false,
};
