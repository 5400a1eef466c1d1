/**
 * The arithmetic against its definition: exact rational arithmetic, then one rounding, in every mode. The
 * definition of each operation and the short cut for it are both held to that, the short cut also with
 * NX raised before, when it takes another way.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import * as exact from './riscv/float-exact.ts';
import { doubleValue, edges, FORMATS, singleValue } from './riscv/float-operands.ts';
import { compute } from './support/float-module.ts';

const RUNS = Number(process.env.GODWIT_TEST_RUNS ?? 3000);
const SEED = Number(process.env.GODWIT_TEST_SEED ?? 1);
const params = { numRuns: RUNS, seed: SEED };
const { NX, NV } = exact.FLAGS;
type Name = 'S' | 'D';
const NAMES: readonly Name[] = ['S', 'D'];
const mode = fc.integer({ min: 0, max: 4 });

/** Bits of a finite number; numbers drawn together are often of like size. */
function finite(name: Name): fc.Arbitrary<bigint> {
  const { fractionBits, exponentBits } = FORMATS[name];
  const top = 2 ** exponentBits - 2;
  const special = edges(FORMATS[name]).filter((bits) => exact.isNumber(name, bits));
  const exponent = fc.oneof(
    fc.integer({ min: 0, max: top }),
    fc.integer({ min: top / 2 - 30, max: top / 2 + 30 }),
    fc.integer({ min: 0, max: 3 }),
  );
  const drawn = fc
    .tuple(fc.bigInt({ min: 0n, max: (1n << BigInt(fractionBits)) - 1n }), exponent, fc.boolean())
    .map(([fraction, biased, negative]) => {
      const sign = negative ? 1n << BigInt(fractionBits + exponentBits) : 0n;
      return sign | (BigInt(biased) << BigInt(fractionBits)) | fraction;
    });
  return fc.oneof(drawn, fc.constantFrom(...special));
}

/** The operation and its short cut, each with the flags that it must raise. */
function holds(name: string, operands: readonly bigint[], rm: number, want: exact.Outcome): void {
  const soft = name.replace(/(?=[SD]$)/, 'Soft');
  assert.deepEqual(compute(soft, operands, rm), want, soft);
  assert.deepEqual(compute(name, operands, rm), want, name);
  const after = { bits: want.bits, flags: want.flags | NX };
  assert.deepEqual(compute(name, operands, rm, NX), after, `${name} with NX raised`);
}

const OPERATIONS = {
  add: exact.add,
  mul: exact.multiply,
  div: exact.divide,
} as const;

for (const name of NAMES) {
  for (const [operation, of] of Object.entries(OPERATIONS)) {
    test(`${operation} of ${name} is the exact result, rounded once`, () => {
      fc.assert(
        fc.property(finite(name), finite(name), mode, (a, b, rm) => {
          const [x, y] = [exact.rationalOf(name, a), exact.rationalOf(name, b)];
          fc.pre(operation !== 'div' || y.numerator !== 0n);
          const value = of(x, y);
          fc.pre(value.numerator !== 0n);
          holds(operation + name, [a, b], rm, exact.round(name, value, rm));
        }),
        params,
      );
    });
  }

  test(`quotients and roots of ${name} beside short ones are not taken for exact`, () => {
    const short = fc.integer({ min: 1, max: 4000 });
    const ulps = fc.bigInt({ min: -2n, max: 2n });
    fc.assert(
      fc.property(short, short, ulps, mode, (q, y, off, rm) => {
        const [x, divisor] = [FORMATS[name].nearest(q * y) + off, FORMATS[name].nearest(y)];
        const value = exact.divide(exact.rationalOf(name, x), exact.rationalOf(name, divisor));
        holds(`div${name}`, [x, divisor], rm, exact.round(name, value, rm));
        const square = FORMATS[name].nearest(q * q) + off;
        const root = exact.squareRoot(exact.rationalOf(name, square));
        holds(`sqrt${name}`, [square], rm, exact.round(name, root, rm));
      }),
      params,
    );
  });

  test(`fused multiply-add of ${name} is rounded once`, () => {
    const near = fc.tuple(
      finite(name),
      finite(name),
      finite(name),
      fc.integer({ min: -3, max: 3 }),
    );
    fc.assert(
      fc.property(near, fc.boolean(), mode, ([a, b, drawn, off], cancels, rm) => {
        const product = exact.multiply(exact.rationalOf(name, a), exact.rationalOf(name, b));
        fc.pre(product.numerator !== 0n);
        const opposite = { ...product, numerator: -product.numerator };
        const moved = exact.round(name, opposite, 0).bits + BigInt(off);
        const c = cancels && moved >= 0n && exact.isNumber(name, moved) ? moved : drawn;
        const value = exact.add(product, exact.rationalOf(name, c));
        fc.pre(value.numerator !== 0n);
        holds(`madd${name}`, [a, b, c], rm, exact.round(name, value, rm));
      }),
      params,
    );
  });

  test(`what a sum of ${name} loses far below a tie decides it`, () => {
    const { fractionBits } = FORMATS[name];
    const one = 1n << BigInt(fractionBits);
    const sign = fc.constantFrom(0n, 1n << BigInt(fractionBits + FORMATS[name].exponentBits));
    const ulps = fc.bigInt({ min: -2n, max: 2n });
    fc.assert(
      fc.property(finite(name), sign, ulps, ulps, mode, (c, negative, i, j, rm) => {
        // The product is half a unit of c's last place, and a very little more or less.
        const biased = Number(c / one) & (2 ** FORMATS[name].exponentBits - 1);
        fc.pre(biased > fractionBits + 3);
        const a = negative | (BigInt(biased - fractionBits - 1) * one + i);
        const b = FORMATS[name].nearest(1) + j;
        const product = exact.multiply(exact.rationalOf(name, a), exact.rationalOf(name, b));
        const value = exact.add(product, exact.rationalOf(name, c));
        holds(`madd${name}`, [a, b, c], rm, exact.round(name, value, rm));
      }),
      params,
    );
  });

  test(`the square root of ${name} is the nearest on its side`, () => {
    fc.assert(
      fc.property(finite(name), mode, (drawn, rm) => {
        const a = drawn & ~(1n << BigInt(FORMATS[name].fractionBits + FORMATS[name].exponentBits));
        const value = exact.rationalOf(name, a);
        fc.pre(value.numerator > 0n);
        holds(`sqrt${name}`, [a], rm, exact.round(name, exact.squareRoot(value), rm));
      }),
      { ...params, numRuns: Math.ceil(RUNS / 3) },
    );
  });
}

test('the modes that point up and down enclose the exact result', () => {
  fc.assert(
    fc.property(finite('D'), finite('D'), (a, b) => {
      const [down, nearest, up] = [2, 0, 3].map((rm) => compute('mulD', [a, b], rm));
      const [low, high] = [doubleValue(down!.bits), doubleValue(up!.bits)];
      assert.ok(low <= doubleValue(nearest!.bits) && doubleValue(nearest!.bits) <= high);
      assert.equal(low === high, (up!.flags & NX) === 0, 'equal only when exact');
    }),
    params,
  );
});

test('to nearest even it is what JavaScript computes', () => {
  const any = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
  const numbers = fc.oneof(any, finite('D'));
  const same = (bits: bigint, value: number) => {
    if (Number.isNaN(value)) assert.equal(bits, 0x7ff8000000000000n);
    else assert.equal(bits, FORMATS.D.nearest(value));
  };
  fc.assert(
    fc.property(numbers, numbers, (a, b) => {
      const [x, y] = [doubleValue(a), doubleValue(b)];
      for (const suffix of ['D', 'SoftD']) {
        same(compute(`add${suffix}`, [a, b], 0).bits, x + y);
        same(compute(`mul${suffix}`, [a, b], 0).bits, x * y);
        same(compute(`div${suffix}`, [a, b], 0).bits, x / y);
        same(compute(`sqrt${suffix}`, [a], 0).bits, Math.sqrt(x));
        const narrow = compute(`narrow${suffix}`, [a], 0).bits;
        if (Number.isNaN(x)) assert.equal(narrow, 0x7fc00000n);
        else assert.equal(narrow, FORMATS.S.nearest(Math.fround(x)));
      }
    }),
    params,
  );
});

const INTEGERS = {
  W: [-(1n << 31n), (1n << 31n) - 1n],
  WU: [0n, (1n << 32n) - 1n],
  L: [-(1n << 63n), (1n << 63n) - 1n],
  LU: [0n, (1n << 64n) - 1n],
} as const;

/** As a register holds it: 32 bits are sign-extended, whether signed or not. */
const inRegister = (value: bigint, integer: string): bigint =>
  BigInt.asUintN(64, integer.startsWith('W') ? BigInt.asIntN(32, value) : value);

function nearest(value: bigint, low: bigint, high: bigint): bigint {
  if (value < low) return low;
  return value > high ? high : value;
}

test('conversions to integers round, and saturate with NV and without NX', () => {
  for (const name of NAMES) {
    fc.assert(
      fc.property(finite(name), mode, (a, rm) => {
        const value = exact.rationalOf(name, a);
        const whole = exact.toInteger(value, rm);
        for (const [integer, [low, high]] of Object.entries(INTEGERS)) {
          const clamped = nearest(whole, low, high);
          const inexact = whole * value.denominator !== value.numerator ? NX : 0;
          const want = {
            bits: inRegister(clamped, integer),
            flags: clamped === whole ? inexact : NV,
          };
          for (const soft of ['', 'Soft']) {
            assert.deepEqual(compute(`to${integer}${soft}${name}`, [a], rm), want, integer);
          }
        }
      }),
      params,
    );
  }
});

test('conversions from integers are exact, rounded', () => {
  const register = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
  const narrower = fc.tuple(register, fc.bigInt({ min: 0n, max: 63n })).map(([x, by]) => x >> by);
  for (const name of NAMES) {
    fc.assert(
      fc.property(fc.oneof(register, narrower), mode, (x, rm) => {
        for (const [integer, [low]] of Object.entries(INTEGERS)) {
          const bits = integer.startsWith('W') ? 32 : 64;
          const value = low < 0n ? BigInt.asIntN(bits, x) : BigInt.asUintN(bits, x);
          const want =
            value === 0n
              ? { bits: 0n, flags: 0 }
              : exact.round(name, { numerator: value, denominator: 1n }, rm);
          assert.deepEqual(compute(`from${integer}${name}`, [x], rm), want, integer);
        }
      }),
      params,
    );
  }
});

test('a single is a double, exactly, and the way back ends where it began', () => {
  fc.assert(
    fc.property(finite('S'), mode, (a, rm) => {
      const wide = compute('widenS', [a], rm);
      assert.deepEqual([doubleValue(wide.bits), wide.flags], [singleValue(a), 0]);
      assert.deepEqual(compute('narrowD', [wide.bits], rm), { bits: a, flags: 0 });
    }),
    params,
  );
  fc.assert(
    fc.property(finite('D'), mode, (a, rm) => {
      const value = exact.rationalOf('D', a);
      fc.pre(value.numerator !== 0n);
      holds('narrowD', [a], rm, exact.round('S', value, rm));
    }),
    params,
  );
});

/** Result and flags where there is no number to round; clauses 6 and 7, and chapter "F". */
const [INF, QUIET, SIGNALING, ONE, ZERO] = [
  0x7ff0000000000000n,
  0x7ff8000000000123n,
  0x7ff0000000000001n,
  0x3ff0000000000000n,
  0n,
];
const NAN = 0x7ff8000000000000n;
const MINUS = 1n << 63n;
const DZ = exact.FLAGS.DZ;
const SPECIAL: readonly (readonly [string, readonly bigint[], bigint, number])[] = [
  ['add', [QUIET, ONE], NAN, 0],
  ['add', [SIGNALING, ONE], NAN, NV],
  ['add', [INF, INF | MINUS], NAN, NV],
  ['add', [INF, ONE], INF, 0],
  ['add', [ZERO, ZERO | MINUS], ZERO, 0],
  ['add', [ZERO | MINUS, ZERO | MINUS], MINUS, 0],
  ['add', [ONE, ONE | MINUS], ZERO, 0],
  ['mul', [INF, ZERO], NAN, NV],
  ['mul', [INF | MINUS, ONE], INF | MINUS, 0],
  ['mul', [ZERO, ONE | MINUS], MINUS, 0],
  ['div', [ONE, ZERO | MINUS], INF | MINUS, DZ],
  ['div', [ZERO, ZERO], NAN, NV],
  ['div', [INF, INF], NAN, NV],
  ['div', [INF, ZERO], INF, 0],
  ['div', [ONE, INF | MINUS], MINUS, 0],
  ['sqrt', [MINUS], MINUS, 0],
  ['sqrt', [ONE | MINUS], NAN, NV],
  ['sqrt', [INF], INF, 0],
  ['madd', [INF, ZERO, QUIET], NAN, NV],
  ['madd', [ONE, ONE, SIGNALING], NAN, NV],
  ['madd', [INF, ONE, INF | MINUS], NAN, NV],
  ['madd', [ONE, ONE, ONE | MINUS], ZERO, 0],
  ['madd', [ZERO, ONE, ONE], ONE, 0],
  ['min', [ZERO, MINUS], MINUS, 0],
  ['max', [MINUS, ZERO], ZERO, 0],
  ['min', [QUIET, ONE], ONE, 0],
  ['max', [ONE, SIGNALING], ONE, NV],
  ['min', [QUIET, QUIET], NAN, 0],
  ['eq', [QUIET, QUIET], 0n, 0],
  ['eq', [SIGNALING, ONE], 0n, NV],
  ['eq', [ZERO, MINUS], 1n, 0],
  ['lt', [QUIET, ONE], 0n, NV],
  ['le', [MINUS, ZERO], 1n, 0],
  ['class', [INF | MINUS], 1n << 0n, 0],
  ['class', [1n], 1n << 5n, 0],
  ['class', [SIGNALING], 1n << 8n, 0],
  ['toW', [QUIET | MINUS], 0x7fffffffn, NV],
  ['toWU', [QUIET], (1n << 64n) - 1n, NV],
  ['toLU', [INF | MINUS], 0n, NV],
];

test('what there is no number to round for', () => {
  for (const [name, operands, bits, flags] of SPECIAL) {
    const text = `${name} ${operands.map((x) => x.toString(16)).join(', ')}`;
    assert.deepEqual(compute(`${name}D`, operands, 0), { bits, flags }, text);
  }
});

test('sums that vanish are -0 when rounding down', () => {
  assert.equal(compute('addD', [ONE, ONE | MINUS], 2).bits, MINUS);
  assert.equal(compute('addD', [ZERO, MINUS], 2).bits, MINUS);
  assert.equal(compute('addD', [ZERO, ZERO], 2).bits, ZERO);
  assert.equal(compute('maddD', [ONE, ONE, ONE | MINUS], 2).bits, MINUS);
});
