/** Sizes, rates and durations: what is written is read back, and nonsense is refused. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ageText, bytesText, countText, durationText, linkText, rateText } from '../src/format.ts';
import {
  parseBandwidth,
  parseCount,
  parseDuration,
  parseSize,
  parseWriteRate,
} from '../src/options.ts';
import { table } from '../src/output.ts';

describe('format', () => {
  it('keeps three digits at most', () => {
    const cases: [string, string][] = [
      [bytesText(0), '0 B'],
      [bytesText(1536), '1.5 KiB'],
      [bytesText(256 * 2 ** 20), '256 MiB'],
      [bytesText(1.25 * 2 ** 30), '1.25 GiB'],
      [rateText(50 * 2 ** 20), '50 MiB/s'],
      [linkText(2.5e9), '2.5 GB/s'],
      [linkText(4e6), '4 MB/s'],
      [durationText(0.2), '0.2 ms'],
      [durationText(9), '9 ms'],
      [durationText(410), '0.41 s'],
      [durationText(73_000), '73 s'],
      [ageText(250_000), '4m'],
      [countText(262_144), '262,144'],
    ];
    for (const [found, expected] of cases) assert.equal(found, expected);
  });

  it('is read back to within its rounding', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 42 }), (bytes) => {
        const back = parseSize(bytesText(bytes));
        assert.ok(
          Math.abs(back - bytes) <= bytes * 0.01,
          `${bytes} -> ${bytesText(bytes)} -> ${back}`,
        );
      }),
      { numRuns: 200 },
    );
  });

  it('aligns a table without blanks at the end of a line', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.stringMatching(/^[a-z]{0,9}$/), fc.stringMatching(/^[a-z]{0,9}$/))),
        (rows) => {
          const lines = table(['LEFT', 'RIGHT'], rows).split('\n');
          const column = lines[0]!.indexOf('RIGHT');
          for (const [i, row] of rows.entries()) {
            assert.equal(lines[i + 1], `${row[0].padEnd(column)}${row[1]}`.trimEnd());
          }
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe('parse', () => {
  it('takes the units people write', () => {
    assert.equal(parseSize('256MiB'), 256 * 2 ** 20);
    assert.equal(parseSize('1 gib'), 2 ** 30);
    assert.equal(parseSize('64M'), 64 * 2 ** 20);
    assert.equal(parseSize('2GB'), 2e9);
    assert.equal(parseSize('4096'), 4096);
    assert.equal(parseBandwidth('1Gbit/s'), 125e6);
    assert.equal(parseBandwidth('200MiB/s'), 200 * 2 ** 20);
    assert.equal(parseBandwidth('unlimited'), 0);
    assert.equal(parseWriteRate('50MiB/s'), 50);
    assert.equal(parseWriteRate('unlimited'), Number.POSITIVE_INFINITY);
    assert.equal(parseDuration('300ms'), 300);
    assert.equal(parseDuration('2s'), 2000);
    assert.equal(parseCount(1, 1e9)('1_000_000'), 1_000_000);
    assert.equal(parseCount(1, 1e9)('5e6'), 5_000_000);
  });

  it('refuses the rest', () => {
    for (const text of ['', 'GiB', '-1MiB', '1XiB', '0x10', '1 2', 'NaN', '1e400MiB']) {
      assert.throws(() => parseSize(text), /expected a size/, text);
      assert.throws(() => parseBandwidth(text), /expected a bandwidth/, text);
    }
    assert.equal(parseWriteRate('0'), 0);
    for (const text of ['', '50', '1_000', 'fast', '50Mbit/s']) {
      assert.throws(() => parseWriteRate(text), /expected a rate such as 50MiB\/s/, text);
    }
    for (const text of ['300', '0ms', '5h', '']) {
      assert.throws(() => parseDuration(text), /expected a duration/, text);
    }
    for (const text of ['', ' ', '1.5', '-1', 'x', '9'.repeat(30)]) {
      assert.throws(() => parseCount(0, 10)(text), /expected a whole number/, text);
    }
  });
});
