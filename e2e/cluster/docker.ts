/**
 * The Docker Engine below the harness: started when nothing answers, spoken to through its CLI.
 *
 * Owns the labels that say what belongs to which cluster. It must never touch a container, network or
 * volume without that label, nor a daemon that answers.
 */
import { spawn } from 'node:child_process';
import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CACHE } from './paths.ts';
import { output, run, runAny } from './process.ts';
import type { Progress } from './progress.ts';

export const CLUSTER_LABEL = 'dev.kata-operator.cluster';
export const ROLE_LABEL = 'dev.kata-operator.role';
/** On images: what they were made from. */
export const KEY_LABEL = 'dev.kata-operator.key';

const PID_FILE = '/var/run/docker.pid';
const START_TIMEOUT_MS = 60_000;

/** Makes sure that a Docker Engine answers; starts one where none does. */
export async function ensureDocker(progress: Progress): Promise<void> {
  if (await dockerAnswers()) return;
  await progress.step('start Docker Engine', async () => {
    await removeStalePidFile();
    await mkdir(CACHE, { recursive: true });
    const logFile = join(CACHE, 'dockerd.log');
    const log = await open(logFile, 'a');
    const daemon = spawn('dockerd', [], { detached: true, stdio: ['ignore', log.fd, log.fd] });
    const failed = new Promise<never>((_, reject) => daemon.once('error', reject));
    daemon.unref();
    try {
      await Promise.race([failed, waitForDocker(logFile)]);
    } finally {
      await log.close();
    }
  });
}

async function dockerAnswers(): Promise<boolean> {
  const result = await runAny(['docker', 'version', '--format', '{{.Server.Version}}'], {
    timeoutMs: 20_000,
  }).catch(() => undefined);
  return result?.exitCode === 0;
}

async function waitForDocker(logFile: string): Promise<void> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!(await dockerAnswers())) {
    if (performance.now() > deadline) {
      const log = await readFile(logFile, 'utf8').catch(() => '');
      throw new Error(
        `dockerd does not answer after 60 s; ${logFile} ends with:\n${log.slice(-2000)}`,
      );
    }
    await sleep(500);
  }
}

/** dockerd refuses to start over the pid file of one that was killed. */
async function removeStalePidFile(): Promise<void> {
  const pid = (await readFile(PID_FILE, 'utf8').catch(() => '')).trim();
  if (pid === '') return;
  const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
  if (name.trim() !== 'dockerd') await rm(PID_FILE, { force: true });
}

export interface ContainerState {
  readonly name: string;
  readonly running: boolean;
  readonly labels: Readonly<Record<string, string>>;
}

/** The containers of one cluster, running or not. */
export async function clusterContainers(cluster: string): Promise<ContainerState[]> {
  const format = '{{.Names}}\t{{.State}}\t{{.Label "' + ROLE_LABEL + '"}}';
  const filter = `label=${CLUSTER_LABEL}=${cluster}`;
  const text = await output(['docker', 'ps', '--all', '--filter', filter, '--format', format]);
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [name = '', state = '', role = ''] = line.split('\t');
      return { name, running: state === 'running', labels: { [ROLE_LABEL]: role } };
    });
}

/** Removes a container of ours with its anonymous volumes; absent is fine. */
export async function removeContainer(name: string): Promise<void> {
  await run(['docker', 'rm', '--force', '--volumes', name], { timeoutMs: 60_000 });
}

/** The value of KEY_LABEL on an image, or undefined when there is no such image. */
export async function imageKey(reference: string): Promise<string | undefined> {
  const format = `{{index .Config.Labels "${KEY_LABEL}"}}`;
  const result = await runAny(['docker', 'image', 'inspect', '--format', format, reference]);
  return result.exitCode === 0 ? result.stdout.toString('utf8').trim() : undefined;
}

/** The id of an image: it changes with its content. @throws CommandError when there is none */
export async function imageId(reference: string): Promise<string> {
  return output(['docker', 'image', 'inspect', '--format', '{{.Id}}', reference]);
}

/** Removes images of ours that lost their tag to a newer one and that no container uses. */
export async function removeReplacedImages(): Promise<void> {
  await run(['docker', 'image', 'prune', '--force', '--filter', `label=${KEY_LABEL}`]);
}
