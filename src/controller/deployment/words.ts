/** Sentences about nodes and Pods, bounded whatever the fleet. */
import { failureOf, type Member } from '../nodes/member.ts';

const MAX_NAMES = 5;

/** `1 Pod`, `2 Pods` */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

export function nodes(count: number): string {
  return counted(count, 'node');
}

export function nameSome(names: readonly string[]): string {
  const more = names.length - MAX_NAMES;
  return `${names.slice(0, MAX_NAMES).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

function explainFailure(member: Member): string {
  const { node, kataNode, state } = member;
  const error = failureOf(member)?.error;
  if (error === undefined) return `${node.name}: unknown`;
  const now = state === 'returned' ? ` (now at revision ${kataNode?.spec.revision ?? ''})` : '';
  return `${node.name}${now}: ${error.step}/${error.reason}: ${error.message} Next: ${error.remedy}`;
}

export function explainFailures(members: readonly Member[]): string {
  return members.slice(0, MAX_NAMES).map(explainFailure).join('\n');
}
