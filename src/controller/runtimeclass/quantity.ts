/**
 * Resource quantities by value. The API server writes them its own way (1024Mi comes back as 1Gi, 0.5 as 500m), so
 * that texts cannot be compared. Exact: no floating point.
 */

const FORM =
  /^([+-]?)(\d*)(?:\.(\d*))?(?:(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)|[eE]([+-]?\d{1,3}))?$/;

const DECIMAL_EXPONENT: Readonly<Record<string, number>> = {
  n: -9,
  u: -6,
  m: -3,
  k: 3,
  M: 6,
  G: 9,
  T: 12,
  P: 15,
  E: 18,
};
const BINARY_EXPONENT: Readonly<Record<string, bigint>> = {
  Ki: 10n,
  Mi: 20n,
  Gi: 30n,
  Ti: 40n,
  Pi: 50n,
  Ei: 60n,
};

/** The same text for the same value; what is no quantity stays as it is. */
export function canonicalQuantity(quantity: unknown): unknown {
  if (typeof quantity !== 'string' && typeof quantity !== 'number') return quantity;
  const [, sign = '', whole = '', fraction = '', suffix = '', exponent = '0'] =
    FORM.exec(String(quantity)) ?? [];
  const digits = whole + fraction;
  if (digits === '') return quantity;
  const value = BigInt(sign + digits) << (BINARY_EXPONENT[suffix] ?? 0n);
  const tens = Number(exponent) + (DECIMAL_EXPONENT[suffix] ?? 0) - fraction.length;
  return scientific(value, tens);
}

/** As few digits as the value has. */
function scientific(value: bigint, tens: number): string {
  if (value === 0n) return '0';
  const digits = String(value);
  const significant = digits.replace(/0+$/, '');
  return `${significant}e${tens + digits.length - significant.length}`;
}
