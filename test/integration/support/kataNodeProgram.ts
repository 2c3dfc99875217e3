/**
 * The bundled node program, run as a process against the root of a host, as a Pod or a person runs it.
 * Owns a directory with the program and its helper, until `destroy`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { bundle } from '../../../build/bundle.ts';
import { compileHelper } from '../../../build/helper.ts';
import { nodeBinary } from '../../../build/imageTree.ts';
import { REPOSITORY } from '../../../e2e/cluster/paths.ts';
import type { NodePlan } from '../../../src/crds/nodePlan.ts';
import { type NodeResult, nodeResult } from '../../../src/crds/nodeResult.ts';
import type { Host } from '../../../src/node/host/host.ts';

const RUN_TIMEOUT_MS = 300_000;
const PEAK_INTERVAL_MS = 20;

export interface ProgramRun {
  readonly code: number;
  /** Wall clock from the start of the process to its end. */
  readonly seconds: number;
  /** The kernel's VmHWM of the process, as it was last read. */
  readonly peakMiB: number;
  readonly result: NodeResult;
}

export interface RunRequest {
  readonly command: 'apply' | 'verify' | 'remove' | 'rollback' | 'stage' | 'activate' | 'preflight';
  readonly host: Host;
  readonly plan: NodePlan;
  /** Directory with `index.json`, for bundled artifacts. */
  readonly artifacts: string;
  readonly force?: boolean;
}

export class KataNodeProgram {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async build(): Promise<KataNodeProgram> {
    const directory = await mkdtemp(join(tmpdir(), 'ko-program-'));
    await bundle(join(REPOSITORY, 'src/node/main.ts'), join(directory, 'kata-node.mjs'), {
      sourceMap: false,
    });
    await compileHelper(join(directory, 'kata-helper'));
    return new KataNodeProgram(directory);
  }

  /** Throws when it does not end with a result. */
  async run({ command, host, plan, artifacts, force }: RunRequest): Promise<ProgramRun> {
    const planFile = join(this.#directory, `plan-${plan.revision}.json`);
    await writeFile(planFile, JSON.stringify(plan));
    const args = [join(this.#directory, 'kata-node.mjs'), command, '--plan', planFile];
    args.push('--root', host.root, '--artifacts', artifacts, '--output', 'json');
    if (force === true) args.push('--force');
    const startedMs = performance.now();
    const child = spawn(nodeBinary(), args, {
      env: { ...process.env, KATA_HELPER: join(this.#directory, 'kata-helper') },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: RUN_TIMEOUT_MS,
    });
    const peak = watchPeak(child.pid ?? 0, () => child.exitCode === null);
    const [stdout, stderr] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      child.exitCode ?? once(child, 'exit'),
    ]);
    const seconds = (performance.now() - startedMs) / 1000;
    const code = child.exitCode ?? 128;
    return { code, seconds, peakMiB: await peak, result: resultOf(stdout, code, stderr) };
  }

  async destroy(): Promise<void> {
    await rm(this.#directory, { recursive: true });
  }
}

function resultOf(stdout: string, code: number, stderr: string): NodeResult {
  try {
    return nodeResult.parse(JSON.parse(stdout));
  } catch (error) {
    throw new Error(`no result, exit code ${code}: ${stderr}${stdout}`, { cause: error });
  }
}

/** The kernel keeps the peak: what counts is the last time that it could be read. */
export async function watchPeak(pid: number, isRunning: () => boolean): Promise<number> {
  let peakMiB = 0;
  while (isRunning()) {
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
    const kib = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
    if (kib !== undefined) peakMiB = Number(kib) / 1024;
    await sleep(PEAK_INTERVAL_MS);
  }
  return peakMiB;
}
