/** Where the API server is and how to reach it, found in the order that people know from kubectl and operators. */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import { causeOf, KataError } from '../errors.ts';

const SERVICE_ACCOUNT_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

export interface KubeConfigOptions {
  /** A file. It goes before everything else. */
  readonly kubeconfig?: string | undefined;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly home?: string;
}

/**
 * The file given; else the files of KUBECONFIG; else the service account of the Pod we run in; else
 * ~/.kube/config. Throws KATA_E_KUBECONFIG: there is no guess at localhost.
 */
export function loadKubeConfig(options: KubeConfigOptions = {}): KubeConfig {
  const environment = options.environment ?? process.env;
  const config = new KubeConfig();
  try {
    const files = kubeconfigFiles(options.kubeconfig, environment);
    const userFile = join(options.home ?? homedir(), '.kube', 'config');
    if (files.length > 0) loadFiles(config, files);
    else if (isInCluster(environment)) config.loadFromCluster();
    else if (existsSync(userFile)) config.loadFromFile(userFile);
    else throw new Error(`there is no ${userFile} and this is no Pod with a service account`);
  } catch (cause) {
    throw new KataError('KATA_E_KUBECONFIG', { cause: causeOf(cause) }, { cause });
  }
  if (config.getCurrentCluster() === null) {
    const cause = `context "${config.currentContext}" names no cluster`;
    throw new KataError('KATA_E_KUBECONFIG', { cause });
  }
  return config;
}

function kubeconfigFiles(
  given: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): string[] {
  if (given !== undefined && given !== '') return [given];
  return (environment['KUBECONFIG'] ?? '').split(delimiter).filter((file) => file !== '');
}

/** Several files are merged; the first to name a context wins, as with kubectl. */
function loadFiles(config: KubeConfig, files: readonly string[]): void {
  files.forEach((file, index) => {
    if (index === 0) {
      config.loadFromFile(file);
      return;
    }
    const more = new KubeConfig();
    more.loadFromFile(file);
    config.mergeConfig(more, config.currentContext !== '');
  });
}

function isInCluster(environment: Readonly<Record<string, string | undefined>>): boolean {
  return environment['KUBERNETES_SERVICE_HOST'] !== undefined && existsSync(SERVICE_ACCOUNT_TOKEN);
}
