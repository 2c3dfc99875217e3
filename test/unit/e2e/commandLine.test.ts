import { describe, expect, test } from 'vitest';
import { fullReference } from '../../../e2e/cluster/nodeAccess.ts';
import { parseNodes } from '../../../e2e/main.ts';

describe('--nodes', () => {
  test('names each node with its containerd and whether it has KVM', () => {
    expect(parseNodes('node-a:2.4:kvm,node-b:1.7')).toEqual([
      { name: 'node-a', containerd: '2.4', kvm: true },
      { name: 'node-b', containerd: '1.7', kvm: false },
    ]);
  });

  test.each(['', 'node-a', 'node-a:3.0', ':2.4', 'a:2.4,', 'a:2.4:gpu', 'a:2.4:kvm:x'])(
    '"%s" is refused with the part that is wrong',
    (text) => {
      expect(() => parseNodes(text)).toThrow(/^--nodes: "/);
    },
  );
});

describe("containerd's name of an image", () => {
  test.each([
    ['busybox', 'docker.io/library/busybox'],
    ['busybox:1.37', 'docker.io/library/busybox:1.37'],
    ['kata-operator/node:dev', 'docker.io/kata-operator/node:dev'],
    ['ghcr.io/a/b:1', 'ghcr.io/a/b:1'],
    ['localhost/a:1', 'localhost/a:1'],
    ['registry:5000/a', 'registry:5000/a'],
  ])('%s is %s', (short, full) => {
    expect(fullReference(short)).toBe(full);
  });
});
