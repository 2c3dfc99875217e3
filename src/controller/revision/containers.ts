/**
 * The containers of a node Pod, each with the least that it needs: the stages, one after the other, and the resident
 * that stays. Pure.
 */
import { PLAN_FILE } from '../../crds/nodePlan.ts';
import type { Stage } from '../../crds/nodeResult.ts';
import type { NodePodSettings } from './objects.ts';
import type { SourceMounts } from './sourceMounts.ts';

/** Where the containers have the root of the host. */
export const HOST = '/host';
/** Who the resident container runs as: nobody on the host. */
const NONROOT_UID = 65532;

export function stageContainer(
  stage: Stage,
  settings: NodePodSettings,
  source: SourceMounts,
): Record<string, unknown> {
  return {
    name: stage,
    image: settings.image,
    imagePullPolicy: settings.imagePullPolicy,
    command: ['/kata/bin/node', '/kata/kata-node.mjs', stage],
    args: [
      ...['--plan', `/plan/${PLAN_FILE}`],
      ...['--root', HOST],
      ...['--attempt', '$(POD_UID)'],
      ...['--handoff', '/handoff'],
      ...['--result', '/dev/termination-log'],
      ...(stage === 'stage' ? source.args : []),
    ],
    env: [{ name: 'POD_UID', valueFrom: { fieldRef: { fieldPath: 'metadata.uid' } } }],
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    resources: { requests: { cpu: '25m', memory: '64Mi' } },
    securityContext: STAGE_SECURITY[stage],
    volumeMounts: [
      { name: 'plan', mountPath: '/plan', readOnly: true },
      { name: 'handoff', mountPath: '/handoff' },
      ...STAGE_MOUNTS[stage],
      ...(stage === 'stage' ? source.mounts : []),
    ],
  };
}

const PRIVILEGED = {
  privileged: true,
  runAsUser: 0,
  readOnlyRootFilesystem: true,
  // Needed to run the engine's own binary from the host and to speak to its socket where SELinux enforces.
  seLinuxOptions: { type: 'spc_t' },
} as const;

/**
 * Preflight is privileged although it writes nothing: the device cgroup closes /dev/kvm to every other
 * container, and only the ioctl tells whether KVM works. Its mount of the host is read-only at the root;
 * what is mounted below is not.
 */
const STAGE_SECURITY: Readonly<Record<Stage, Record<string, unknown>>> = {
  preflight: PRIVILEGED,
  stage: {
    privileged: false,
    runAsUser: 0,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'], add: ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID'] },
    seccompProfile: { type: 'RuntimeDefault' },
    seLinuxOptions: { type: 'spc_t' },
  },
  activate: PRIVILEGED,
  remove: PRIVILEGED,
};

const STAGE_MOUNTS: Readonly<Record<Stage, readonly Record<string, unknown>[]>> = {
  preflight: [
    { name: 'host', mountPath: HOST, readOnly: true, mountPropagation: 'HostToContainer' },
  ],
  stage: [{ name: 'host-opt', mountPath: `${HOST}/opt` }],
  activate: [{ name: 'host', mountPath: HOST, mountPropagation: 'HostToContainer' }],
  remove: [{ name: 'host', mountPath: HOST, mountPropagation: 'HostToContainer' }],
};

/** Holds the Pod so that its readiness tells whether the files are still what they were. No rights, under 1 MiB. */
export function residentContainer(settings: NodePodSettings): Record<string, unknown> {
  return {
    name: 'resident',
    image: settings.image,
    imagePullPolicy: settings.imagePullPolicy,
    command: ['/kata/bin/kata-helper', 'pause'],
    readinessProbe: {
      exec: { command: ['/kata/bin/kata-helper', 'probe', '/handoff/fingerprint', HOST] },
      periodSeconds: 30,
      timeoutSeconds: 5,
    },
    resources: { requests: { cpu: '1m', memory: '1Mi' }, limits: { memory: '16Mi' } },
    securityContext: {
      runAsNonRoot: true,
      runAsUser: NONROOT_UID,
      runAsGroup: NONROOT_UID,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
    },
    volumeMounts: [
      { name: 'handoff', mountPath: '/handoff', readOnly: true },
      { name: 'host-opt', mountPath: `${HOST}/opt`, readOnly: true },
      { name: 'host-etc', mountPath: `${HOST}/etc`, readOnly: true },
    ],
  };
}
