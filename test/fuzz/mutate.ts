/** Damage to a file: pieces cut out, doubled, or put in, as editors, merges and broken disks do it. */
import fc from 'fast-check';

/** `piece` takes the place of `length` characters; undefined doubles them. */
type Damage = readonly [at: number, length: number, piece: string | undefined];

/** Every piece is looked up by where it goes, so that a smaller counterexample is found by leaving damage out. */
export function damaged(
  texts: fc.Arbitrary<string>,
  pieces: readonly string[],
): fc.Arbitrary<Buffer> {
  const damage: fc.Arbitrary<Damage> = fc.tuple(
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.oneof(fc.constant(0), fc.nat(3), fc.nat(60)),
    fc.oneof(
      { weight: 5, arbitrary: fc.constantFrom(...pieces) },
      { weight: 1, arbitrary: fc.constant('') },
      { weight: 1, arbitrary: fc.constant(undefined) },
      { weight: 1, arbitrary: fc.string({ maxLength: 3, unit: 'binary' }) },
    ),
  );
  return fc
    .tuple(
      texts,
      fc.oneof(fc.constant([]), fc.array(damage, { minLength: 1, maxLength: 3 })),
      fc.oneof(
        { weight: 15, arbitrary: fc.constant(undefined) },
        { weight: 1, arbitrary: fc.tuple(fc.nat(), fc.nat(255)) },
      ),
    )
    .map(([text, damages, byte]) => {
      const bytes = Buffer.from(damages.reduce(apply, text), 'utf8');
      if (byte !== undefined && bytes.length > 0) bytes[byte[0] % bytes.length] = byte[1];
      return bytes;
    });
}

function apply(text: string, [at, length, piece]: Damage): string {
  const start = Math.floor(at * text.length);
  const end = Math.min(text.length, start + length);
  const cut = text.slice(start, end);
  return text.slice(0, start) + (piece ?? cut + cut) + text.slice(end);
}
