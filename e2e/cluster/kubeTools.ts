/**
 * kubectl and helm against one kubeconfig.
 *
 * Owns how they are found and called. It must never use the kubeconfig of the person who runs it.
 */
import { BIN } from './paths.ts';
import { PATH_DIRECTORIES, run, runAny, which, type RunResult } from './process.ts';

export interface ToolOptions {
  /** Given to the program's standard input (`kubectl apply -f -`). */
  readonly input?: string;
  /** Default: 120 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

export class KubeTools {
  readonly kubeconfigPath: string;

  constructor(kubeconfigPath: string) {
    this.kubeconfigPath = kubeconfigPath;
  }

  /** Runs kubectl and returns what it printed. @throws CommandError */
  async kubectl(args: readonly string[], options: ToolOptions = {}): Promise<string> {
    return this.#run('kubectl', args, options);
  }

  /** Runs kubectl and returns its outcome, whatever it is. */
  async kubectlAny(args: readonly string[], options: ToolOptions = {}): Promise<RunResult> {
    return runAny([await findTool('kubectl'), ...args], this.#options(options));
  }

  /** Runs helm and returns what it printed. @throws CommandError */
  async helm(args: readonly string[], options: ToolOptions = {}): Promise<string> {
    return this.#run('helm', args, options);
  }

  async #run(tool: string, args: readonly string[], options: ToolOptions): Promise<string> {
    const argv = [await findTool(tool), ...args];
    return (await run(argv, this.#options(options))).stdout.toString('utf8');
  }

  #options(options: ToolOptions): ToolOptions & { readonly env: Record<string, string> } {
    return { ...options, env: { KUBECONFIG: this.kubeconfigPath } };
  }
}

/** Our own build first: it has the version of the cluster. */
async function findTool(tool: string): Promise<string> {
  const found = await which(tool, [BIN, ...PATH_DIRECTORIES]);
  if (found === undefined) {
    throw new Error(`${tool} is neither in ${BIN} nor in PATH: run "node e2e/main.ts build"`);
  }
  return found;
}
