/** Pods of users, for demonstrations and scenarios. */

export const BUSYBOX = 'busybox:1.37';

interface PodOptions {
  readonly name: string;
  readonly command: readonly string[];
  readonly runtimeClass?: string;
  readonly node?: string;
  readonly labels?: Record<string, string>;
}

interface PodManifest {
  readonly apiVersion: 'v1';
  readonly kind: 'Pod';
  readonly metadata: { readonly name: string; readonly labels?: Record<string, string> };
  readonly spec: object;
}

/** Runs its command once. A node is chosen by selector, not by nodeName, so that the scheduler has its say. */
export function onePod({ name, command, runtimeClass, node, labels }: PodOptions): PodManifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, ...(labels === undefined ? {} : { labels }) },
    spec: {
      ...(runtimeClass === undefined ? {} : { runtimeClassName: runtimeClass }),
      ...(node === undefined ? {} : { nodeSelector: { 'kubernetes.io/hostname': node } }),
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 1,
      containers: [{ name: 'main', image: BUSYBOX, imagePullPolicy: 'IfNotPresent', command }],
    },
  };
}
