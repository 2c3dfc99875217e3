/** Sentences about nodes and Pods, bounded whatever the fleet. */
import type { Member } from './nodes/member.ts';

export const MAX_NAMES = 5;

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

export function nameNodes(members: readonly Member[]): string {
  return nameSome(members.map(({ node }) => node.name));
}
