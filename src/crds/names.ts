/**
 * Every name that leaves the process: API group, labels, annotations, taints, finalizer, markers.
 * Owns the spelling; nothing else may write one of these strings out.
 */

export const GROUP = 'kata-operator.dev';
export const VERSION = 'v1alpha1';
export const API_VERSION = `${GROUP}/${VERSION}`;

export const FINALIZER = `${GROUP}/uninstall`;

export const LABEL = {
  /** `<deployment>.<revision>` or `<deployment>.remove`: selects the DaemonSet that works on the node. */
  claim: `${GROUP}/claim`,
  /** Revision that is verified on the node. */
  revision: `${GROUP}/revision`,
  /** `true` or `false`: KVM answered its ioctl. */
  kvm: `${GROUP}/kvm`,
  /** What users of kata-deploy already select on. */
  kataRuntime: 'katacontainers.io/kata-runtime',
  /** On everything that belongs to one KataDeployment. */
  deployment: `${GROUP}/deployment`,
  managedBy: 'app.kubernetes.io/managed-by',
  component: 'app.kubernetes.io/component',
} as const;

export const MANAGED_BY = 'kata-operator';

/** `runtime.kata-operator.dev/kata-fc`: this handler is served on this node. */
export function handlerLabel(handler: string): string {
  return `${HANDLER_LABEL_PREFIX}${handler}`;
}
export const HANDLER_LABEL_PREFIX = `runtime.${GROUP}/`;

export const ANNOTATION = {
  /** On a KataNode: any new value makes the node be tried again. */
  retry: `${GROUP}/retry`,
  /** On a Node: `true` keeps the rollout away from it; what it has, it keeps. */
  skip: `${GROUP}/skip`,
  /** On a KataDeployment: `<revision>.<wave>` releases the waves of that revision up to this one. */
  approve: `${GROUP}/approve`,
} as const;

export function approveValue(revision: string, wave: number): string {
  return `${revision}.${String(wave)}`;
}

/** Highest wave of the revision that is released; 1 without a word for this revision: the first starts by itself. */
export function approvedWave(value: string | undefined, revision: string): number {
  const [approved, wave] = value?.split('.') ?? [];
  return approved === revision && /^[0-9]{1,2}$/.test(wave ?? '') ? Number(wave) : 1;
}

/** The value of the claim label that has a node cleaned. */
export const REMOVE = 'remove';

/** On a DaemonSet: changed when its controller seems to have missed a node. */
export const ANNOTATION_NUDGE = `${GROUP}/nudge`;
/** On a DaemonSet: digest of its Pod template, to see that the settings of the operator have changed. */
export const ANNOTATION_TEMPLATE = `${GROUP}/template`;

/** On the objects of a revision: the node image that it runs, for people. */
export const ANNOTATION_REVISION_IMAGE = `${GROUP}/node-image`;

export function claimValue(deployment: string, revision: string): string {
  return `${deployment}.${revision}`;
}

/** Undefined when the value is not of our form. Deployment names are DNS labels: they hold no dot. */
export function parseClaim(value: string): { deployment: string; revision: string } | undefined {
  const dot = value.indexOf('.');
  if (dot <= 0 || dot === value.length - 1) return undefined;
  return { deployment: value.slice(0, dot), revision: value.slice(dot + 1) };
}

/** Paths on the host. Everything of ours is under the first, so one mount of /opt serves staging and nothing stays behind. */
export const HOST_PATHS = {
  installation: '/opt/kata',
  versions: '/opt/kata/versions',
  revisions: '/opt/kata/revisions',
  state: '/opt/kata/state',
} as const;

/** Where the stage container finds what the spec refers to, each below the name of its object. */
export const MOUNTED_SECRETS = '/secret';
export const MOUNTED_CONFIG_MAPS = '/config-map';
/** Key of the ConfigMap with certificates. */
export const CA_KEY = 'ca.crt';
/** Where the stage container finds the image of an image volume. */
export const MOUNTED_IMAGE = '/image';
