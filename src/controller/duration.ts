/** Go's durations as the API carries them (`90s`, `1h30m`). */

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds. The form was checked by the API server. */
export function durationMs(text: string): number {
  let total = 0;
  for (const [, number, unit] of text.matchAll(/(\d+)(ms|s|m|h)/g))
    total += Number(number) * (UNIT_MS[unit ?? ''] ?? 0);
  return total;
}
