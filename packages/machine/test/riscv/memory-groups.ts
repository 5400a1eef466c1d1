/**
 * Groups that touch the memory window: loads, stores, atomics, a loop, and code that writes code.
 */
import * as isa from './encode.ts';
import {
  alignedOffset,
  destination,
  type Group,
  keys,
  operation,
  plain,
  short,
  source,
  WINDOW_BASE,
  WINDOW_HALF_BYTES,
  windowOffset,
  written,
} from './group.ts';
import type { Random } from './random.ts';

export function access(random: Random): Group {
  const isLoad = random.oneIn(2);
  const offset = windowOffset(random, 8);
  // Through x31 itself, or through an address computed just before.
  const base = random.oneIn(2) ? WINDOW_BASE : written(random);
  const moved = base === WINDOW_BASE ? 0 : random.between(-1024, 1023);
  const rest = Math.max(-2048, Math.min(2047, offset - moved));
  const first = base === WINDOW_BASE ? [] : [isa.addi(base, WINDOW_BASE, offset - rest)];
  const setup = first.length > 0 ? `addi x${base}, x31, ${offset - rest}; ` : '';
  if (isLoad) {
    const name = random.pick(keys(isa.LOADS));
    const rd = destination(random);
    const word = isa.iType(0x03, isa.LOADS[name], rd, base, rest);
    return plain(`${setup}${name} x${rd}, ${rest}(x${base})`, ...first, word);
  }
  const name = random.pick(keys(isa.STORES));
  const rs2 = source(random);
  const word = isa.sType(isa.STORES[name], rs2, base, rest);
  return plain(`${setup}${name} x${rs2}, ${rest}(x${base})`, ...first, word);
}

export function atomic(random: Random): Group {
  const name = random.pick(keys(isa.AMOS));
  const width = random.pick([2, 3] as const);
  const [base, rd, rs2] = [written(random), destination(random), source(random)];
  const offset = alignedOffset(random, 2 ** width);
  const ordering = random.between(0, 3);
  const suffix = width === 2 ? 'w' : 'd';
  return plain(
    `addi x${base}, x31, ${offset}; ${name}.${suffix} x${rd}, x${rs2}, (x${base})`,
    isa.addi(base, WINDOW_BASE, offset),
    isa.amo(isa.AMOS[name], width, ordering, rd, base, rs2),
  );
}

/** LR, SC that succeeds, and sometimes a second SC, which must fail. */
export function reservation(random: Random): Group {
  const width = random.pick([2, 3] as const);
  const base = random.between(1, 10);
  const [loaded, stored, again] = [
    random.between(11, 20),
    random.between(21, 30),
    random.between(11, 30),
  ];
  const [value, other] = [source(random), source(random)];
  const offset = alignedOffset(random, 2 ** width);
  const words = [
    isa.addi(base, WINDOW_BASE, offset),
    isa.amo(isa.LR, width, random.between(0, 3), loaded, base, 0),
    isa.amo(isa.SC, width, random.between(0, 3), stored, base, value),
  ];
  const text = `addi x${base}, x31, ${offset}; lr x${loaded}; sc x${stored}, x${value}`;
  if (random.oneIn(2)) return plain(text, ...words);
  words.push(isa.amo(isa.SC, width, 0, again, base, other));
  return plain(`${text}; sc x${again}, x${other} (fails)`, ...words);
}

/** Loads and stores of the C extension, each with its base register set just before. */
export function shortAccess(random: Random): Group {
  const double = random.oneIn(2);
  const store = random.oneIn(2);
  const scale = double ? 8 : 4;
  if (random.oneIn(2)) {
    const offset = random.between(0, 31) * scale;
    const base = short(random);
    const data = short(random);
    const start = random.between(-WINDOW_HALF_BYTES, WINDOW_HALF_BYTES - 256);
    const encode = double ? isa.cDouble : isa.cWord;
    return plain(
      `addi x${base}, x31, ${start}; c.${store ? 's' : 'l'}${double ? 'd' : 'w'} x${data}, ${offset}(x${base})`,
      isa.addi(base, WINDOW_BASE, start),
      encode(store, data, base, offset),
    );
  }
  const offset = random.between(0, 63) * scale;
  const data = written(random);
  const start = random.between(-WINDOW_HALF_BYTES, WINDOW_HALF_BYTES - 512);
  return plain(
    `addi x2, x31, ${start}; c.${store ? 's' : 'l'}${double ? 'd' : 'w'}sp x${data}, ${offset}`,
    isa.addi(2, WINDOW_BASE, start),
    store ? isa.cStoreSp(double, data, offset) : isa.cLoadSp(double, data, offset),
  );
}

/** Runs two operations and a store a few times: the counter is x1, which they do not write. */
export function loop(random: Random): Group {
  const times = random.between(2, 20);
  const first = operation(random, random.between(2, 30));
  const second = operation(random, random.between(2, 30));
  const [rs2, offset] = [source(random), windowOffset(random, 8)];
  const store = isa.sType(isa.STORES.sd, rs2, WINDOW_BASE, offset);
  const body = [first.word, second.word, store, isa.addi(1, 1, -1)];
  return plain(
    `x1 = ${times}; do { ${first.text}; ${second.text}; sd x${rs2}, ${offset}(x31) } while (--x1)`,
    isa.addi(1, 0, times),
    ...body,
    isa.bType(isa.BRANCHES.bne, 1, 0, -4 * body.length),
  );
}

/** Writes an instruction over the one after the next, then executes it. FENCE.I makes that defined. */
export function selfModify(random: Random): Group {
  const before = operation(random, destination(random));
  const after = operation(random, destination(random));
  const low = ((after.word & 0xfff) ^ 0x800) - 0x800;
  const base = random.between(1, 15);
  const patch = random.between(16, 30);
  return plain(
    `${before.text}, overwritten with ${after.text} through x${base}, x${patch}`,
    isa.auipc(base, 0),
    isa.lui(patch, ((after.word - low) >>> 12) & 0xfffff),
    isa.addi(patch, patch, low),
    isa.sType(isa.STORES.sw, patch, base, 20),
    isa.FENCE_I,
    before.word,
  );
}
