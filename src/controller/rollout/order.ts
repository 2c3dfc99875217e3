/** The order in which nodes are taken: the same in every replica, whatever the order in which they were seen. */
import type { RolloutSpec } from '../../crds/rollout.ts';
import type { Member } from '../nodes/member.ts';
import { matches } from '../nodes/selection.ts';

type Policy = Pick<RolloutSpec, 'order' | 'topologyKey'>;

/**
 * Asked for by a person, then nodes that fail or leave, then workers before control-plane nodes, canaries first,
 * healthy before cordoned, zone by zone, and by name.
 */
export function inOrder(members: readonly Member[], { order, topologyKey }: Policy): Member[] {
  const first = order?.first;
  const zone = ({ node }: Member): string =>
    topologyKey === undefined ? '' : (node.labels[topologyKey] ?? '');
  const keys: readonly ((member: Member) => number | string)[] = [
    ({ retry }) => Number(retry?.reason !== 'Asked'),
    ({ state }) => Number(state === 'waiting'),
    ({ node }) => Number(node.controlPlane),
    ({ node }) => Number(first === undefined || !matches(node.labels, first)),
    ({ node }) => Number(node.unschedulable),
    zone,
    ({ node }) => node.name,
  ];
  return members
    .map((member) => ({ member, rank: keys.map((key) => key(member)) }))
    .sort((a, b) => compare(a.rank, b.rank))
    .map(({ member }) => member);
}

function compare(a: readonly (number | string)[], b: readonly (number | string)[]): number {
  for (const [index, mine] of a.entries()) {
    const theirs = b[index];
    if (theirs === undefined || mine === theirs) continue;
    return mine < theirs ? -1 : 1;
  }
  return 0;
}
