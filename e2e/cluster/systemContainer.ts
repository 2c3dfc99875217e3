/**
 * A container that runs systemd and, below it, other containers, without `--privileged`: that needs
 * CAP_SYS_RESOURCE, which virtual machines of build farms often lack.
 *
 * Owns what such a container is allowed. It must never hand it a device that its caller did not name.
 */
import { GenericContainer, Wait } from 'testcontainers';
import { CLUSTER_LABEL, ROLE_LABEL } from './docker.ts';
import { networkName } from './layout.ts';

export interface SystemContainerSpec {
  readonly image: string;
  readonly cluster: string;
  readonly name: string;
  readonly hostname: string;
  readonly role: 'control-plane' | 'node';
  readonly address: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Devices of the machine that it gets, by path. */
  readonly devices: readonly string[];
  /** Absolute path → content; written before systemd starts. */
  readonly files: Readonly<Record<string, string>>;
  /** The unit whose activity means that the container has started. */
  readonly readyUnit: string;
}

class SystemContainer extends GenericContainer {
  constructor(spec: SystemContainerSpec) {
    super(spec.image);
    this.createOpts = {
      ...this.createOpts,
      Hostname: spec.hostname,
      // systemd tells its console what goes wrong: seen by `docker logs`.
      Tty: true,
      StopSignal: 'SIGRTMIN+3',
      // Container layers cannot be stacked on the container's own overlay.
      Volumes: { '/var': {} },
      NetworkingConfig: {
        EndpointsConfig: {
          [networkName(spec.cluster)]: { IPAMConfig: { IPv4Address: spec.address } },
        },
      },
    };
    const hostConfig: typeof this.hostConfig & { CgroupnsMode: 'host' } = {
      ...this.hostConfig,
      CapAdd: ['ALL'],
      CapDrop: ['SYS_RESOURCE'],
      SecurityOpt: ['seccomp=unconfined', 'apparmor=unconfined'],
      // What the CLI calls systempaths=unconfined.
      MaskedPaths: [],
      ReadonlyPaths: [],
      DeviceCgroupRules: ['a *:* rwm'],
      Devices: spec.devices.map((path) => ({
        PathOnHost: path,
        PathInContainer: path,
        CgroupPermissions: 'rwm',
      })),
      CgroupnsMode: 'host',
      Binds: ['/sys/fs/cgroup:/sys/fs/cgroup:rw'],
      Tmpfs: { '/run': 'rw,exec,mode=755', '/tmp': 'rw,exec,mode=1777' },
    };
    this.hostConfig = hostConfig;
  }
}

/** Starts one and returns when its `readyUnit` is active. It outlives this process. */
export async function startSystemContainer(spec: SystemContainerSpec): Promise<void> {
  // The reaper is an image of a registry, and what is started here shall stay.
  process.env['TESTCONTAINERS_RYUK_DISABLED'] = 'true';
  const printed: string[] = [];
  const container = new SystemContainer(spec)
    .withLogConsumer((stream) => stream.on('data', (data) => printed.push(String(data))))
    .withName(spec.name)
    .withLabels({ ...spec.labels, [CLUSTER_LABEL]: spec.cluster, [ROLE_LABEL]: spec.role })
    .withNetworkMode(networkName(spec.cluster))
    .withCommand(['/sbin/init', 'SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1'])
    .withCopyContentToContainer(
      Object.entries(spec.files).map(([target, content]) => ({
        content,
        target,
        mode: target.endsWith('.key') || target.endsWith('.conf') ? 0o600 : 0o644,
      })),
    )
    .withAutoCleanup(false)
    .withStartupTimeout(180_000)
    .withWaitStrategy(Wait.forSuccessfulCommand(`systemctl is-active --quiet ${spec.readyUnit}`));
  try {
    await container.start();
  } catch (cause) {
    // The container is gone by now, and with it what it said.
    throw new Error(`container ${spec.name} did not start: ${printed.join('').slice(-2000)}`, {
      cause,
    });
  }
}
