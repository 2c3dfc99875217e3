/**
 * A host with systemd and containerd: a container of its own, made from the node image of the cluster harness.
 * Its files, sockets and processes are reached below /proc/<pid>/root, as the node program reaches those of a host.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { compileHelper } from '../../../build/helper.ts';
import { prepareMachine } from '../../../e2e/cluster/prepare.ts';
import { Progress, stderrLog } from '../../../e2e/cluster/progress.ts';
import { type Host, hostAt } from '../../../src/node/host/host.ts';
import { run } from './run.ts';

const START_TIMEOUT_MS = 60_000;
/** What only a node of a cluster has work for. */
const MASKED = ['kubelet', 'kube-proxy', 'apply-routes', 'prepare-node'];

export class SystemdHost {
  readonly #name: string;
  #host = hostAt('/nonexistent');

  private constructor(name: string) {
    this.#name = name;
  }

  /**
   * Builds what is missing, starts the container, and returns when containerd runs in it. `volumes` are Docker's:
   * `SOURCE:PATH:ro` lays a file or directory of this machine over one of the image.
   */
  static async start(image: string, volumes: readonly string[] = []): Promise<SystemdHost> {
    await prepareMachine(new Progress(stderrLog));
    const helper = join(await mkdtemp(join(tmpdir(), 'ko-helper-')), 'kata-helper');
    await compileHelper(helper);
    process.env['KATA_HELPER'] = helper;
    const host = new SystemdHost(`kata-operator-host-${randomBytes(4).toString('hex')}`);
    await docker([
      ...['run', '--detach', '--tty', '--name', host.#name, '--stop-signal', 'SIGRTMIN+3'],
      ...['--cap-add', 'ALL', '--cap-drop', 'SYS_RESOURCE', '--cgroupns', 'host'],
      ...['seccomp=unconfined', 'apparmor=unconfined', 'systempaths=unconfined'].flatMap(
        (option) => ['--security-opt', option],
      ),
      ...['--device-cgroup-rule', 'a *:* rwm', '--volume', '/sys/fs/cgroup:/sys/fs/cgroup:rw'],
      ...['--tmpfs', '/run:rw,exec,mode=755', '--tmpfs', '/tmp:rw,exec', '--volume', '/var'],
      ...volumes.flatMap((volume) => ['--volume', volume]),
      ...[image, '/sbin/init', 'SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1'],
      ...MASKED.map((unit) => `systemd.mask=${unit}.service`),
    ]);
    await host.#settle();
    return host;
  }

  /** The root of its files, as seen from here. It changes with `powerCycle`. */
  get host(): Host {
    return this.#host;
  }

  get name(): string {
    return this.#name;
  }

  /** Output of a shell in it, without the last line end. */
  async sh(script: string): Promise<string> {
    const { stdout } = await run('docker', ['exec', this.#name, 'sh', '-c', script]);
    return stdout.trimEnd();
  }

  /** Ends every process at once, as a power cut does, and starts it again. What is in /run is lost. */
  async powerCycle(): Promise<void> {
    await docker(['kill', '--signal', 'KILL', this.#name]);
    await docker(['start', this.#name]);
    await this.#settle();
  }

  async destroy(): Promise<void> {
    await docker(['rm', '--force', '--volumes', this.#name]);
  }

  async #settle(): Promise<void> {
    const pid = await docker(['inspect', '--format', '{{.State.Pid}}', this.#name]);
    this.#host = hostAt(`/proc/${pid.trim()}/root`);
    const deadline = performance.now() + START_TIMEOUT_MS;
    while ((await this.sh('systemctl is-active containerd')) !== 'active') {
      if (performance.now() > deadline)
        throw new Error(`containerd did not start: ${await this.sh('systemctl --failed')}`);
      await sleep(200);
    }
  }
}

async function docker(args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run('docker', args, undefined, 120_000);
  if (code !== 0) throw new Error(`docker ${args.slice(0, 1).join('')}: ${stderr.trim()}`);
  return stdout;
}
