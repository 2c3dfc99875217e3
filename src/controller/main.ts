/**
 * Entry of the controller image: `run`, and two small commands that the chart's hooks use.
 * The only place that reads the environment and ends the process.
 */
import { hostname } from 'node:os';
import { causeOf, KataError } from '../errors.ts';
import { KubeClient } from '../kube/client.ts';
import { loadKubeConfig } from '../kube/config.ts';
import { isNotFound } from '../kube/errors.ts';
import { createTransport } from '../kube/transport.ts';
import { parseKubeconfigOptions, parseRunOptions, parseSelfTestOptions } from './options.ts';
import { KATA_DEPLOYMENTS } from './resources.ts';
import { run } from './run.ts';

const HOOK_TIMEOUT_MS = 60_000;

async function main(argv: readonly string[]): Promise<number> {
  const [command, ...args] = argv;
  switch (command) {
    case 'run':
      return await runUntilSignal(args);
    case 'self-test':
      return await selfTest(parseSelfTestOptions(args).url);
    case 'uninstall-check':
      return await uninstallCheck(args);
    default:
      process.stderr.write('usage: controller run|self-test|uninstall-check [options]\n');
      return 2;
  }
}

async function runUntilSignal(args: readonly string[]): Promise<number> {
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const)
    process.once(name, () => {
      stop.abort();
    });
  await run(parseRunOptions(args), process.env['POD_NAME'] ?? hostname(), stop.signal);
  return 0;
}

/** `helm test`: the controller answers and its caches are filled. */
async function selfTest(url: string): Promise<number> {
  const response = await fetch(url, { signal: AbortSignal.timeout(HOOK_TIMEOUT_MS) });
  const text = (await response.text()).trim();
  process.stdout.write(`${url}: ${response.status} ${text}\n`);
  return response.ok ? 0 : 1;
}

/** Before `helm uninstall`: without a controller nobody would clean the nodes. */
async function uninstallCheck(args: readonly string[]): Promise<number> {
  const transport = createTransport(loadKubeConfig(parseKubeconfigOptions(args)));
  try {
    const { items } = await new KubeClient(transport).list(
      KATA_DEPLOYMENTS,
      {},
      AbortSignal.timeout(HOOK_TIMEOUT_MS),
    );
    if (items.length === 0) return 0;
    const names = items.map((item) => item.metadata.name).join(' ');
    process.stderr.write(
      `KataDeployments exist: ${names}\nWithout the operator nobody would take Kata off their nodes. First run:\n  kubectl delete katadeployment ${names}\n`,
    );
    return 1;
  } catch (error) {
    if (isNotFound(error)) return 0;
    throw error;
  } finally {
    await transport.close();
  }
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    const remedy = error instanceof KataError ? `\n${error.remedy}` : '';
    process.stderr.write(`kata-operator: ${causeOf(error)}${remedy}\n`);
    process.exitCode = 1;
  },
);
