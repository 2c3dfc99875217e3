import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ARCHITECTURES, DEFAULT_RUNTIMES } from '../../../src/crds/kataDeployment.ts';
import { CATALOGUE, editDistance, findRuntime, nearestName } from '../../../src/kata/catalogue.ts';

describe('the catalogue of runtimes', () => {
  it('names every runtime once, on architectures that Kata is released for', () => {
    expect(new Set(CATALOGUE.map((entry) => entry.name)).size).toBe(CATALOGUE.length);
    expect(CATALOGUE.length).toBe(28);
    for (const entry of CATALOGUE) {
      expect(entry.architectures.length, entry.name).toBeGreaterThan(0);
      expect(ARCHITECTURES).toEqual(expect.arrayContaining([...entry.architectures]));
    }
  });

  it('keeps overheads in the canonical form of a quantity, so that an apply reads back equal', () => {
    for (const { name, overhead } of CATALOGUE) {
      expect(overhead.cpu, name).toMatch(/^([1-9]\d*|[1-9]\d*m)$/);
      expect(overhead.memory, name).toMatch(/^[1-9]\d*(Mi|Gi)$/);
      expect(
        overhead.memory.endsWith('Mi') && Number.parseInt(overhead.memory, 10) % 1024 === 0,
        name,
      ).toBe(false);
    }
  });

  it('takes the Go shim from the Go archive and the Rust shim from the main one', () => {
    for (const entry of CATALOGUE) {
      expect(entry.archive === 'kata-go-static', entry.name).toBe(entry.runtime === 'go');
      expect(entry.shimPath.startsWith('runtime-rs/'), entry.name).toBe(entry.runtime === 'rust');
      expect(entry.configurationPath.includes('/runtime-rs/'), entry.name).toBe(
        entry.runtime === 'rust',
      );
    }
  });

  it('holds the default runtimes, and no confidential runtime is among them', () => {
    for (const name of DEFAULT_RUNTIMES)
      expect(findRuntime(name)?.nodeSelector, name).toBeUndefined();
    expect(DEFAULT_RUNTIMES.map((name) => findRuntime(name)?.name)).toEqual(['qemu', 'clh', 'fc']);
  });

  it('leaves clh-runtime-rs out on arm64, where no configuration is released', () => {
    expect(findRuntime('clh-runtime-rs')?.architectures).toEqual(['amd64']);
    expect(findRuntime('clh')?.architectures).toEqual(['amd64', 'arm64']);
  });
});

describe('the nearest name', () => {
  it.each([
    ['quemu', 'qemu'],
    ['kata-fc', 'fc'],
    ['firecracker', undefined],
    ['qemu-runtime-sr', 'qemu-runtime-rs'],
    ['Dragonbal', 'dragonball'],
    ['clh_azure', 'clh-azure'],
    ['zzzzzzzz', undefined],
    ['', undefined],
  ])('for "%s" is %s', (typed, wanted) => {
    expect(nearestName(typed)).toBe(wanted);
  });

  it('finds every name back after one slip of the finger', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...CATALOGUE.filter((e) => e.name.length > 9)),
        fc.nat(),
        (entry, position) => {
          const at = position % entry.name.length;
          const slipped = entry.name.slice(0, at) + '_' + entry.name.slice(at + 1);
          const found = nearestName(slipped);
          expect(found).toBeDefined();
          expect(editDistance(slipped, found ?? '')).toBe(1);
        },
      ),
    );
  });

  it('measures a distance: symmetric, zero only for equal names', () => {
    const word = fc.string({ maxLength: 8 });
    fc.assert(
      fc.property(word, word, (a, b) => {
        expect(editDistance(a, b)).toBe(editDistance(b, a));
        expect(editDistance(a, b) === 0).toBe(a === b);
      }),
    );
  });
});
