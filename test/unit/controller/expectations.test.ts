import { beforeEach, describe, expect, it } from 'vitest';
import { EXPIRE_MS, Expectations } from '../../../src/controller/expectations.ts';
import { FakeClock } from '../kube/fakeClock.ts';

describe('Expectations', () => {
  let clock: FakeClock;
  let expectations: Expectations;

  beforeEach(() => {
    clock = new FakeClock();
    expectations = new Expectations(() => clock.monotonicMs());
  });

  const isBehindAt = (version: string | undefined): boolean => expectations.isBehind(() => version);

  it('waits for nothing when nothing was written', () => {
    expect(isBehindAt('10')).toBe(false);
  });

  it.each([
    ['the version from before the write', '10', true],
    ["another's version from between", '11', true],
    ['the version that was written', '12', false],
    ['a newer one', '13', false],
    ['a newer one of more digits', '100', false],
    ['no such object any more', undefined, false],
  ])('given %s in the cache (%s), is behind: %s', (_, version, behind) => {
    expectations.wrote('Node', 'n1', '10', '12');
    expect(isBehindAt(version)).toBe(behind);
  });

  it.each([
    ['the version from before', 'aa', true],
    ['another one, of which nobody can say what it is', 'zz', true],
    ['the version that was written', 'bb', false],
  ])('compares versions that are no numbers by equality only: %s', (_, version, behind) => {
    expectations.wrote('Node', 'n1', 'aa', 'bb');
    expect(isBehindAt(version)).toBe(behind);
  });

  it('compares numbers that are too long for a computer', () => {
    expectations.wrote('Node', 'n1', '9007199254740992', '9007199254740994');
    expect(isBehindAt('9007199254740993')).toBe(true);
    expect(isBehindAt('9007199254740995')).toBe(false);
  });

  it('waits for an object that was not there until it is', () => {
    expectations.wrote('KataNode', 'n1', '', '12');
    expect(isBehindAt(undefined)).toBe(true);
    expect(isBehindAt('12')).toBe(false);
  });

  it('does not wait for a write that changed nothing, nor for one nobody keeps in mind', () => {
    expectations.wrote('Node', 'n1', '10', '10');
    expectations.wrote('Pod', 'p1', undefined, '12');
    expect(isBehindAt('10')).toBe(false);
  });

  it('waits for the last of several writes', () => {
    expectations.wrote('KataNode', 'n1', '10', '11');
    expectations.wrote('KataNode', 'n1', '10', '12');
    expect(isBehindAt('11')).toBe(true);
    expect(isBehindAt('12')).toBe(false);
  });

  it('waits until every object is seen, and no longer than its patience', () => {
    expectations.wrote('Node', 'n1', '10', '12');
    expectations.wrote('KataNode', 'n1', '20', '22');
    const onlyNode = (kind: string): string => (kind === 'Node' ? '12' : '20');
    expect(expectations.isBehind(onlyNode)).toBe(true);
    clock.advance(EXPIRE_MS);
    expect(expectations.isBehind(onlyNode)).toBe(true);
    clock.advance(1);
    expect(expectations.isBehind(onlyNode)).toBe(false);
  });
});
