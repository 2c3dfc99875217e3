/**
 * A host with systemd and a containerd, and the node program that is run against it with the plan that the controller
 * would give to it.
 *
 * /opt is a volume, so that the artifacts are on a disk and not on the layers of a container's image.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EngineRelease } from '../../e2e/cluster/engines.ts';
import { installRevision } from '../../src/controller/revision/plan.ts';
import { kataDeploymentSpec, type KataDeploymentSpecInput } from '../../src/crds/kataDeployment.ts';
import type { NodePlan } from '../../src/crds/nodePlan.ts';
import { criStatus } from '../../src/node/engine/cri/client.ts';
import { servedBy } from '../../src/node/engine/served.ts';
import { startEngineHost } from '../../test/integration/support/engineHost.ts';
import type { KataNodeProgram } from '../../test/integration/support/kataNodeProgram.ts';
import {
  type ProgramRun,
  type RunRequest,
} from '../../test/integration/support/kataNodeProgram.ts';
import type { SystemdHost } from '../../test/integration/support/systemdHost.ts';
import { watchSocket } from '../criOutage.ts';

export const CONFIG = '/etc/containerd/config.toml';
const SOCKET = '/run/containerd/containerd.sock';
const STATUS_TIMEOUT_MS = 5_000;
/** How long is watched before and after what is measured. */
const AROUND_MS = 150;

export interface Watched<Result> {
  readonly result: Result;
  readonly outageMs: number;
}

/** What the controller makes of a specification that needs no KVM. */
export function planOf(spec: KataDeploymentSpecInput, nodeImage = 'node:1'): NodePlan {
  const parsed = kataDeploymentSpec.parse({
    ...spec,
    nodes: { ...spec.nodes, requireKVM: false },
  });
  return installRevision('kata', parsed, nodeImage).plan;
}

export class Machine {
  readonly host: SystemdHost;
  readonly #program: KataNodeProgram;

  private constructor(host: SystemdHost, program: KataNodeProgram) {
    this.host = host;
    this.#program = program;
  }

  static async start(release: EngineRelease, program: KataNodeProgram): Promise<Machine> {
    return new Machine(await startEngineHost(release, ['/opt']), program);
  }

  run(command: RunRequest['command'], plan: NodePlan, artifacts: string): Promise<ProgramRun> {
    return this.#program.run({ command, plan, artifacts, host: this.host.host });
  }

  /** As `run`; throws unless it ends well. */
  async succeed(
    command: RunRequest['command'],
    plan: NodePlan,
    artifacts: string,
  ): Promise<ProgramRun> {
    const ran = await this.run(command, plan, artifacts);
    if (ran.code === 0) return ran;
    throw new Error(`${command} ended with ${ran.code}: ${JSON.stringify(ran.result.error)}`);
  }

  /** Watches the engine while something is done to it. */
  async watched<Result>(work: () => Promise<Result>): Promise<Watched<Result>> {
    const watch = watchSocket(this.host.host.at(SOCKET));
    await sleep(AROUND_MS);
    try {
      const result = await work();
      await sleep(AROUND_MS);
      return { result, outageMs: await watch.stop() };
    } finally {
      await watch.stop();
    }
  }

  /** As `watched`, and how often systemd has started the engine meanwhile. */
  async counted<Result>(
    work: () => Promise<Result>,
  ): Promise<Watched<Result> & { readonly engineStarts: number }> {
    const before = await this.#engineStarts();
    const watched = await this.watched(work);
    return { ...watched, engineStarts: (await this.#engineStarts()) - before };
  }

  /** Restarts the engine as a person would. Too many in a row would be refused by systemd. */
  async restartByHand(): Promise<void> {
    await this.host.sh('systemctl reset-failed containerd; systemctl restart containerd');
  }

  async served(): Promise<string[]> {
    const signal = AbortSignal.timeout(STATUS_TIMEOUT_MS);
    return servedBy(await criStatus(this.host.host.at(SOCKET), STATUS_TIMEOUT_MS, signal));
  }

  async configDigest(): Promise<string> {
    return createHash('sha256')
      .update(await readFile(this.host.host.at(CONFIG)))
      .digest('hex');
  }

  destroy(): Promise<void> {
    return this.host.destroy();
  }

  async #engineStarts(): Promise<number> {
    return Number(
      await this.host.sh(
        "journalctl --unit containerd --output cat --no-pager _PID=1 | grep -c '^Starting '",
      ),
    );
  }
}
