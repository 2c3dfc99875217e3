import fc from 'fast-check';
import { BlockList } from 'node:net';
import { describe, expect, test } from 'vitest';
import {
  API_SERVICE_ADDRESS,
  checkName,
  controlPlaneAddress,
  NETWORK_COUNT,
  networkCidr,
  networkIndex,
  NODE_COUNT_MAX,
  nodeAddress,
  podCidr,
  podRange,
  SERVICE_CIDR,
} from '../../../e2e/cluster/layout.ts';

const index = fc.integer({ min: 0, max: NETWORK_COUNT - 1 });
const ordinal = fc.integer({ min: 1, max: NODE_COUNT_MAX });

function covers(cidr: string, address: string): boolean {
  const [network = '', prefix = ''] = cidr.split('/');
  const list = new BlockList();
  list.addSubnet(network, Number(prefix));
  return list.check(address);
}

const firstAddress = (cidr: string): string => cidr.split('/')[0] ?? '';

describe('addresses of clusters on one machine', () => {
  test('nodes of any two clusters never share a Pod network', () => {
    fc.assert(
      fc.property(index, ordinal, index, ordinal, (i, m, j, n) => {
        const isSame = i === j && m === n;
        expect(podCidr(i, m) === podCidr(j, n)).toBe(isSame);
        expect(covers(podCidr(i, m), firstAddress(podCidr(j, n)))).toBe(isSame);
      }),
    );
  });

  test("nodes and the control plane are in their cluster's network and nowhere else", () => {
    fc.assert(
      fc.property(index, ordinal, index, (i, n, other) => {
        for (const address of [nodeAddress(i, n), controlPlaneAddress(i)]) {
          expect(covers(networkCidr(i), address)).toBe(true);
          expect(covers(networkCidr(other), address)).toBe(other === i);
          expect(covers(podRange(other), address)).toBe(false);
        }
        expect(nodeAddress(i, n)).not.toBe(controlPlaneAddress(i));
      }),
    );
  });

  test('no Pod has the address of a Service', () => {
    fc.assert(
      fc.property(index, ordinal, (i, n) => {
        expect(covers(SERVICE_CIDR, firstAddress(podCidr(i, n)))).toBe(false);
      }),
    );
    expect(covers(SERVICE_CIDR, API_SERVICE_ADDRESS)).toBe(true);
  });

  test("a network's index is read back from its CIDR, and a foreign network has none", () => {
    fc.assert(fc.property(index, (i) => networkIndex(networkCidr(i)) === i));
    for (const foreign of ['172.17.0.0/16', '10.210.0.0/16', '10.210.1.0/25', '']) {
      expect(networkIndex(foreign)).toBeUndefined();
    }
  });
});

describe('names', () => {
  test.each(['a', 'demo', 'node-a', 'x'.repeat(30)])('%s can be used', (name) => {
    expect(() => {
      checkName('node', name);
    }).not.toThrow();
  });

  test.each(['', '-a', 'a-', 'A', 'a_b', 'a/b', '..', 'x'.repeat(31)])(
    '"%s" is refused, since it becomes a host name and a path',
    (name) => {
      expect(() => {
        checkName('node', name);
      }).toThrow(/^node name/);
    },
  );
});
