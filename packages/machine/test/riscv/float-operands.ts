/**
 * Operands for floating-point tests: where arithmetic changes its behaviour, and random ones near there.
 *
 * Values are register contents: 64 bits, singles boxed (upper half all ones) but for a few that are not
 * and must count as NaN.
 */
import type { Random } from './random.ts';

export type Triple = readonly [bigint, bigint, bigint];

interface Format {
  readonly fractionBits: number;
  readonly exponentBits: number;
  /** From the format's bits to a register's. */
  box(bits: bigint): bigint;
  /** From the nearest double to the format's bits. */
  nearest(value: number): bigint;
  value(bits: bigint): number;
}

const view = new DataView(new ArrayBuffer(8));

function doubleBits(value: number): bigint {
  view.setFloat64(0, value);
  return view.getBigUint64(0);
}

export function doubleValue(bits: bigint): number {
  view.setBigUint64(0, bits);
  return view.getFloat64(0);
}

function singleBits(value: number): bigint {
  view.setFloat32(0, value);
  return BigInt(view.getUint32(0));
}

export function singleValue(bits: bigint): number {
  view.setUint32(0, Number(bits & 0xffffffffn));
  return view.getFloat32(0);
}

const BOX = 0xffffffff00000000n;

export const FORMATS: { readonly S: Format; readonly D: Format } = {
  S: {
    fractionBits: 23,
    exponentBits: 8,
    box: (bits) => bits | BOX,
    nearest: singleBits,
    value: singleValue,
  },
  D: {
    fractionBits: 52,
    exponentBits: 11,
    box: (bits) => bits,
    nearest: doubleBits,
    value: doubleValue,
  },
};

/** Numbers whose neighbourhood matters: limits of integers, of the other format, of halves. */
const LANDMARKS = [
  1,
  1.5,
  2,
  0.5,
  0.25,
  3,
  10,
  1 / 3,
  2 ** 24 - 1,
  2 ** 31,
  2 ** 31 - 1,
  2 ** 32,
  2 ** 32 - 1,
  2 ** 52 + 0.5,
  2 ** 53,
  2 ** 63,
  2 ** 64,
  2 ** 127,
  3.4028235677973366e38, // halfway between the largest single and 2^128
  2 ** -126,
  2 ** -149,
  2 ** -150,
  2 ** -1022,
  2 ** 1023,
];

/** Bit patterns of a format at its edges, both signs. */
export function edges({ fractionBits, exponentBits, nearest }: Format): bigint[] {
  const one = 1n << BigInt(fractionBits);
  const infinity = ((1n << BigInt(exponentBits)) - 1n) << BigInt(fractionBits);
  const positive = [
    0n,
    1n,
    2n,
    one >> 1n,
    one - 1n, // largest subnormal
    one, // smallest normal
    one + 1n,
    infinity - 1n, // largest number
    infinity - 2n,
    infinity,
    infinity + 1n, // signaling NaN
    infinity + (one >> 1n), // canonical NaN
    infinity + (one >> 1n) + 5n,
    ...LANDMARKS.map(nearest),
    ...LANDMARKS.map((value) => nearest(value) + 1n),
    ...LANDMARKS.map((value) => nearest(value) - 1n),
  ].filter((bits) => bits >= 0n);
  const sign = 1n << BigInt(fractionBits + exponentBits);
  return [...new Set(positive)].flatMap((bits) => [bits, bits | sign]);
}

/** Random bits of any exponent, or of one near `near`; the fraction random, sparse or nearly full. */
function randomBits(random: Random, { fractionBits, exponentBits }: Format, near?: bigint): bigint {
  const one = 1n << BigInt(fractionBits);
  const top = 1n << BigInt(exponentBits);
  const drawn = random.doubleword() & (one - 1n);
  const sparse = random.doubleword() & random.doubleword() & random.doubleword() & drawn;
  const fraction = random.pick([drawn, drawn, sparse, one - 1n - sparse, drawn & ~0xffffn]);
  const sign = BigInt(random.between(0, 1)) << BigInt(fractionBits + exponentBits);
  const exponent =
    near === undefined
      ? random.doubleword() % top
      : ((near >> BigInt(fractionBits)) + BigInt(random.between(-3, 3)) + top) % top;
  return sign | (exponent << BigInt(fractionBits)) | fraction;
}

/** A third operand that nearly cancels the product of the first two. */
function cancelling(random: Random, format: Format, a: bigint, b: bigint): bigint {
  const product = format.nearest(-format.value(a) * format.value(b));
  const moved = product + BigInt(random.between(-2, 2));
  return moved < 0n || moved >> BigInt(format.fractionBits + format.exponentBits + 1) ? 0n : moved;
}

/** Operands for one format: every pair of edges when `pairs`, then `count` random triples. */
export function triples(
  random: Random,
  name: 'S' | 'D',
  { count, pairs }: { count: number; pairs: number },
): Triple[] {
  const format = FORMATS[name];
  const special = edges(format);
  const one = (): bigint => (random.oneIn(3) ? random.pick(special) : randomBits(random, format));
  const draw = (): Triple => {
    const a = one();
    const b = random.pick([one, () => randomBits(random, format, a)])();
    const near = () => randomBits(random, format, cancelling(random, format, a, b));
    const c = random.pick([one, near, () => cancelling(random, format, a, b)])();
    const boxed = [a, b, c].map((bits) => format.box(bits));
    // A single that is not boxed counts as the canonical NaN.
    if (name === 'S' && random.oneIn(50)) boxed[random.between(0, 2)] = random.doubleword();
    return boxed as unknown as Triple;
  };
  const pair = (): Triple => {
    const [a, b, c] = [random.pick(special), random.pick(special), random.pick(special)];
    return [format.box(a), format.box(b), format.box(c)];
  };
  const each: Triple[] = special.map((bits) => [
    format.box(bits),
    format.box(random.pick(special)),
    format.box(random.pick(special)),
  ]);
  return [...each, ...Array.from({ length: pairs }, pair), ...Array.from({ length: count }, draw)];
}

/** Integers of every width; only the first of each triple is read. */
export function integers(random: Random, count: number): Triple[] {
  const edge = [0n, 1n, 31n, 32n, 53n, 62n, 63n].flatMap((bit) => {
    const power = bit === 0n ? 0n : 1n << bit;
    return [power - 1n, power, power + 1n, -power, -power - 1n, -power + 1n];
  });
  const draw = (): bigint => {
    const value = random.doubleword() >> BigInt(random.between(0, 63));
    return random.pick([value, -value, value & ~0x7ffn, value | 0x3ffn]);
  };
  return [...edge, ...Array.from({ length: count }, draw)].map(
    (value): Triple => [BigInt.asUintN(64, value), 0n, 0n],
  );
}
