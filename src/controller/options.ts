/**
 * The controller's command line. Parsed once; a mistake names the option and what it should be.
 */
import { isIPv6 } from 'node:net';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { KataError } from '../errors.ts';

const port = z.coerce.number().int().min(0).max(65_535);

const runOptions = z.object({
  'node-namespace': z.string().min(1),
  'release-namespace': z.string().min(1),
  'node-image': z.string().min(1),
  'node-image-pull-policy': z.enum(['Always', 'IfNotPresent', 'Never']).default('IfNotPresent'),
  'node-service-account': z.string().min(1).default('default'),
  'node-priority-class': z.string().optional(),
  'image-pull-secrets': z.string().default(''),
  'http-port': port.default(8080),
  'leader-election-id': z.string().min(1).default('kata-operator'),
  'log-level': z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  kubeconfig: z.string().optional(),
});

export interface RunOptions {
  readonly releaseNamespace: string;
  readonly nodeNamespace: string;
  readonly nodeImage: string;
  readonly nodeImagePullPolicy: 'Always' | 'IfNotPresent' | 'Never';
  readonly nodeServiceAccount: string;
  readonly nodePriorityClass: string | undefined;
  readonly imagePullSecrets: readonly string[];
  readonly httpPort: number;
  readonly leaderElectionId: string;
  readonly logLevel: string;
  /** Path; without it the Pod's own account, or the default of kubectl. */
  readonly kubeconfig: string | undefined;
}

export function parseRunOptions(args: readonly string[]): RunOptions {
  const options = parsed(runOptions, args);
  return {
    releaseNamespace: options['release-namespace'],
    nodeNamespace: options['node-namespace'],
    nodeImage: options['node-image'],
    nodeImagePullPolicy: options['node-image-pull-policy'],
    nodeServiceAccount: options['node-service-account'],
    nodePriorityClass:
      options['node-priority-class'] === '' ? undefined : options['node-priority-class'],
    imagePullSecrets: options['image-pull-secrets'].split(',').filter((name) => name !== ''),
    httpPort: options['http-port'],
    leaderElectionId: options['leader-election-id'],
    logLevel: options['log-level'],
    kubeconfig: options.kubeconfig,
  };
}

const selfTestOptions = z.object({ host: z.string().min(1), port });
/** The URL to ask; `--host` may be a name or an address of either family, as kubelet gives that of a Service. */
export function parseSelfTestOptions(args: readonly string[]): { url: string } {
  const { host, port } = parsed(selfTestOptions, args);
  return { url: `http://${isIPv6(host) ? `[${host}]` : host}:${port}/readyz` };
}

const kubeconfigOptions = z.object({ kubeconfig: z.string().optional() });
export function parseKubeconfigOptions(args: readonly string[]): {
  kubeconfig?: string | undefined;
} {
  return parsed(kubeconfigOptions, args);
}

function parsed<Shape extends z.ZodRawShape>(
  schema: z.ZodObject<Shape>,
  args: readonly string[],
): z.output<z.ZodObject<Shape>> {
  const names = Object.keys(schema.shape);
  let values: Record<string, unknown>;
  try {
    const options = Object.fromEntries(names.map((name) => [name, { type: 'string' as const }]));
    values = parseArgs({ args: [...args], options, strict: true }).values;
  } catch (error) {
    throw new KataError('KATA_E_SPEC_INVALID', {
      field: 'command line',
      cause: error instanceof Error ? error.message : String(error),
    });
  }
  const result = schema.safeParse(values);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new KataError('KATA_E_SPEC_INVALID', {
    field: `--${String(issue?.path[0] ?? '')}`,
    cause: issue?.message ?? 'invalid',
  });
}
