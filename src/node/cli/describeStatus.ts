/**
 * `kata-node status` for people: a few lines that end with what to do next.
 */
import { HOST_PATHS } from '../../crds/names.ts';
import type { HostStatus } from '../stages/status.ts';

const MAX_SHOWN = 5;
const BYTES_PER_MB = 1e6;

export function describeStatus(status: HostStatus): string[] {
  const { active, staged, previous, transaction: open, engine } = status;
  const describe = (part: NonNullable<HostStatus['staged']>): string =>
    `revision ${part.revision}, Kata ${part.version}, ${HOST_PATHS.versions}/${part.digest}`;
  return [
    `Phase: ${status.phase}`,
    ...(status.deployment === undefined ? [] : [`Deployment: ${status.deployment}`]),
    ...(active === undefined ? [] : [`Active: ${describe(active)}`]),
    ...(staged === undefined || staged.digest === active?.digest
      ? []
      : [`Staged: ${describe(staged)}`]),
    ...(previous === undefined ? [] : [`Previous: ${describe(previous)}`]),
    ...describeServed(status),
    ...(engine === undefined
      ? []
      : [
          `Engine: ${engine.name} ${engine.version}, ${engine.configPath}${engine.running ? '' : ' (not running)'}`,
        ]),
    ...(status.inUseBy.length === 0 ? [] : [`In use by: ${first(status.inUseBy)}`]),
    ...describeVersions(status),
    ...(open === undefined ? [] : describeTransaction(open)),
    ...(status.lastOutcome === undefined ? [] : [`Last outcome: ${status.lastOutcome}`]),
    ...status.problems.map((problem) => `Problem: ${problem}`),
    `Next: ${status.next}`,
  ];
}

function first(words: readonly string[]): string {
  const more = words.length - MAX_SHOWN;
  return words.slice(0, MAX_SHOWN).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

/** One line each: digest, what it is, and why it is still there. */
function describeVersions({ versions, leftovers }: HostStatus): string[] {
  if (versions.length + leftovers.length === 0) return [];
  return [
    'On disk:',
    ...versions.map(({ digest, version, sizeBytes, keptFor }) => {
      const what =
        version === undefined
          ? 'damaged'
          : `Kata ${version}, ${Math.ceil((sizeBytes ?? 0) / BYTES_PER_MB)} MB`;
      const why =
        keptFor.length === 0 ? 'kept for nothing, the next apply removes it' : first(keptFor);
      return `  ${digest} ${what}: ${why}`;
    }),
    ...leftovers.map((path) => `  ${path}: left over, the next apply removes it`),
  ];
}

function describeServed({ active, served: handlers }: HostStatus): string[] {
  if (active === undefined) return [];
  if (handlers === undefined) return ['Served: unknown, the engine does not answer'];
  const missing = active.handlers.filter((handler) => !handlers.includes(handler));
  const present = active.handlers.filter((handler) => handlers.includes(handler));
  return [
    `Served: ${present.join(', ') || 'none of ours'}`,
    ...(missing.length === 0 ? [] : [`Not served: ${missing.join(', ')}`]),
  ];
}

function describeTransaction(open: NonNullable<HostStatus['transaction']>): string[] {
  const steps = open.steps.map(({ name, state }) => `${name} ${state}`).join(', ');
  return [
    `Not ended: ${open.stage} of revision ${open.revision} (${steps || 'nothing was changed yet'})`,
    ...(open.failure === undefined
      ? []
      : [`It had failed: ${open.failure.step}: ${open.failure.message}`]),
  ];
}
