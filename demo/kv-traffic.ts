/**
 * The client that never stops: writes to and reads from kv during every move, and remembers what was
 * promised. A write counts as done when its acknowledgement was read.
 *
 * The guest answers in order, so what a read must give is known when it is sent: the last value sent
 * before it. Acknowledgements carry the guest's own count of writes; one that was lost or carried out
 * twice would put it out of step.
 */
import { CommandError, EXIT, type GapMeter } from '@godwit/cli';
import type { KvSession } from './kv-session.ts';

/** Requests under way: enough that a reply is always due, and in a race as many as the guest takes. */
const CALM_WINDOW = 2;
const RACE_WINDOW = 64;
/** Spreads the keys over most of the guest's 2048 table pages. */
const KEYS = 4_000;
const READ_BACK_WINDOW = 64;

export interface ClientVerdict {
  readonly ok: boolean;
  readonly writes: number;
  readonly reads: number;
  readonly keys: number;
  readonly blocks: number;
}

export class KvTraffic {
  readonly #session: KvSession;
  readonly #gap: GapMeter;
  /** Key -> the value that must be read from now on. */
  readonly #sent = new Map<string, string>();
  readonly #workers = new Set<Promise<void>>();
  #window = CALM_WINDOW;
  #isRunning = true;
  #writes = 0;
  #acknowledged = 0;
  #reads = 0;
  #failure: unknown;
  #random = 0x9e3779b9;

  constructor(session: KvSession, gap: GapMeter) {
    this.#session = session;
    this.#gap = gap;
    this.#refill();
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Full speed, to dirty memory faster than a slow link carries it. */
  setRace(isRace: boolean): void {
    this.#window = isRace ? RACE_WINDOW : CALM_WINDOW;
    this.#refill();
  }

  /** @throws what went wrong in the background since */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  async stop(): Promise<void> {
    this.#isRunning = false;
    await Promise.all(this.#workers);
  }

  /** Every promise is called in: all keys, their count and checksum, every page of the heap. */
  async settle(): Promise<ClientVerdict> {
    await this.stop();
    this.check();
    const keys = [...this.#sent.keys()];
    for (let i = 0; i < keys.length; i += READ_BACK_WINDOW) {
      await Promise.all(keys.slice(i, i + READ_BACK_WINDOW).map((key) => this.#read(key)));
    }
    const sum = await this.#session.request('sum');
    expect('sum', sum, `sum ${keys.length} ${checksum(this.#sent)}`);
    const check = await this.#session.request('check');
    const blocks = Number(/^good (\d+)$/.exec(check)?.[1]);
    if (!(blocks > 0)) expect('check', check, 'good BLOCKS');
    return { ok: true, writes: this.#acknowledged, reads: this.#reads, keys: keys.length, blocks };
  }

  #refill(): void {
    while (this.#isRunning && this.#workers.size < this.#window) {
      const worker = this.#work().catch((error: unknown) => {
        this.#failure ??= error;
        this.#isRunning = false;
      });
      this.#workers.add(worker);
      void worker.then(() => this.#workers.delete(worker));
    }
  }

  /** One request after the other, three writes to a read, until there are too many workers. */
  async #work(): Promise<void> {
    for (let i = 0; this.#isRunning && this.#workers.size <= this.#window; i++) {
      const key = `key${this.#next() % KEYS}`;
      if (i % 4 === 3 && this.#sent.has(key)) await this.#read(key);
      else await this.#write(key);
    }
  }

  async #write(key: string): Promise<void> {
    const sequence = ++this.#writes;
    const value = `${sequence}-${this.#next().toString(16).repeat(8)}`;
    this.#sent.set(key, value);
    const reply = await this.#session.request(`set ${key} ${value}`);
    this.#gap.mark();
    expect(`set ${key}`, reply, `ok ${sequence}`);
    this.#acknowledged++;
  }

  async #read(key: string): Promise<void> {
    const expected = `value ${this.#sent.get(key)}`;
    const reply = await this.#session.request(`get ${key}`);
    this.#gap.mark();
    expect(`get ${key}`, reply, expected);
    this.#reads++;
  }

  /** xorshift32: the same traffic in every run. */
  #next(): number {
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x >>> 0;
    return this.#random;
  }
}

function expect(what: string, found: string, expected: string): void {
  if (found === expected) return;
  throw new CommandError({
    code: 'demo.lost_write',
    exit: EXIT.failed,
    message: `kv answered "${found.slice(0, 80)}" to ${what}, expected "${expected.slice(0, 80)}"`,
  });
}

/** As kv computes it: the sum modulo 2^64 of FNV-1a-64 over "KEY VALUE" of all records. */
export function checksum(records: ReadonlyMap<string, string>): string {
  let sum = 0n;
  for (const [key, value] of records) sum = BigInt.asUintN(64, sum + fnv1a64(`${key} ${value}`));
  return sum.toString(16).padStart(16, '0');
}

function fnv1a64(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(text)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return hash;
}
