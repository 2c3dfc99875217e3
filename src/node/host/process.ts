/**
 * What runs on the host, read from its /proc: which program, with which arguments, from which unit,
 * and who listens on a Unix socket.
 *
 * A mount of the host's /proc shows the host's processes, whatever PID namespace the reader is in.
 * Processes come and go while they are read: one that vanishes is simply not there.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Host } from './host.ts';

export interface HostProcess {
  readonly pid: number;
  /** Path of the executable on the host; of one that was replaced since, the path where its successor lies. */
  readonly exe: string;
  readonly argv: readonly string[];
}

/** Processes whose executable has one of these base names. */
export async function processesNamed(
  host: Host,
  names: ReadonlySet<string>,
): Promise<HostProcess[]> {
  const entries = await readdir(host.at('/proc')).catch(() => []);
  const pids = entries.filter((entry) => /^[0-9]+$/.test(entry)).map(Number);
  const found: HostProcess[] = [];
  for (const pid of pids) {
    const exe = await executableOf(host, pid);
    if (exe === undefined || !names.has(basename(exe))) continue;
    const cmdline = await readOptional(host.at(`/proc/${pid}/cmdline`));
    if (cmdline !== undefined)
      found.push({ pid, exe, argv: cmdline.split('\0').filter((part) => part !== '') });
  }
  return found.sort((left, right) => left.pid - right.pid);
}

async function executableOf(host: Host, pid: number): Promise<string | undefined> {
  const target = await readlink(host.at(`/proc/${pid}/exe`)).catch(() => undefined);
  return target?.replace(/ \(deleted\)$/, '');
}

/** Value of a flag in any of the spellings `--name value`, `--name=value`, `-n value`. The last one wins. */
export function flagValue(argv: readonly string[], ...names: string[]): string | undefined {
  let value: string | undefined;
  for (const [index, argument] of argv.entries()) {
    for (const name of names) {
      if (argument === name) value = argv[index + 1] ?? value;
      else if (argument.startsWith(`${name}=`)) value = argument.slice(name.length + 1);
    }
  }
  return value;
}

/** The systemd service that a process belongs to (`containerd.service`), from its control group. */
export async function unitOf(host: Host, pid: number): Promise<string | undefined> {
  const groups = await readOptional(host.at(`/proc/${pid}/cgroup`));
  return groups === undefined ? undefined : unitInCgroups(groups);
}

/** Prefers systemd's own hierarchy (v1) or the unified one. */
export function unitInCgroups(groups: string): string | undefined {
  const lines = groups.split('\n').map((line) => /^\d+:([^:]*):(.*)$/.exec(line));
  const systemd =
    lines.find((match) => match?.[1] === 'name=systemd') ??
    lines.find((match) => match?.[1] === '');
  const segments = (systemd?.[2] ?? '').split('/');
  return segments.findLast((segment) => segment.endsWith('.service'));
}

/** True when the process listens on the Unix socket with this path (as the process gave it to bind). */
export async function listensOn(
  host: Host,
  pid: number,
  socketPaths: ReadonlySet<string>,
): Promise<boolean> {
  const table = await readOptional(host.at(`/proc/${pid}/net/unix`));
  if (table === undefined) return false;
  const inodes = listeningInodes(table, socketPaths);
  if (inodes.size === 0) return false;
  const descriptors = await readdir(host.at(`/proc/${pid}/fd`)).catch(() => []);
  for (const descriptor of descriptors) {
    const target = await readlink(host.at(`/proc/${pid}/fd/${descriptor}`)).catch(() => '');
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
    if (inode !== undefined && inodes.has(inode)) return true;
  }
  return false;
}

/** Inodes in the format of /proc/net/unix (Num RefCount Protocol Flags Type St Inode Path) that accept connections. */
export function listeningInodes(table: string, socketPaths: ReadonlySet<string>): Set<string> {
  const SO_ACCEPTCON = '00010000';
  const inodes = new Set<string>();
  for (const line of table.split('\n').slice(1)) {
    const [, , , flags, , , inode, ...path] = line.trim().split(/ +/);
    if (flags === SO_ACCEPTCON && inode !== undefined && socketPaths.has(path.join(' ')))
      inodes.add(inode);
  }
  return inodes;
}

async function readOptional(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined);
}
