/**
 * A conversation with the kv guest, and what a correct one answers: the oracle is a Map.
 */
import { Random } from './random.ts';

/** The UART of a running guest, whatever runs it. */
export interface Conversation {
  send(text: string): void;
  /** Output not yet read, up to and with the first `end`. */
  readTo(end: string): Promise<string>;
}

const TABLE_BLOCKS = 2048;
const BLOCK_KIB = 4;
const MASK = (1n << 64n) - 1n;

/** FNV-1a, 64 bits, of the latin-1 bytes. */
function fnv1a(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(text, 'latin1'))
    hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & MASK;
  return hash;
}

/** What kv must answer to each command it understands. */
export class KvModel {
  readonly #records = new Map<string, string>();
  #sequence = 0;
  #fillKib = 0;

  set(key: string, value: string): string {
    this.#records.set(key, value);
    this.#sequence++;
    return `ok ${this.#sequence}`;
  }

  get(key: string): string {
    const value = this.#records.get(key);
    return value === undefined ? 'none' : `value ${value}`;
  }

  sum(): string {
    let sum = 0n;
    for (const [key, value] of this.#records) sum = (sum + fnv1a(`${key} ${value}`)) & MASK;
    return `sum ${this.#records.size} ${sum.toString(16).padStart(16, '0')}`;
  }

  fill(kib: number): string {
    this.#fillKib += Math.ceil(kib / BLOCK_KIB) * BLOCK_KIB;
    return `filled ${this.#fillKib}`;
  }

  check(): string {
    return `good ${TABLE_BLOCKS + this.#fillKib / BLOCK_KIB}`;
  }
}

/** Few keys, so that records are replaced; long values, so that blocks overflow into the next. */
function randomCommand(random: Random, model: KvModel): readonly [command: string, reply: string] {
  const key = `key-${random.between(0, 60)}`;
  const value = 'v w '.repeat(random.between(1, 250)).trimEnd();
  return random.pick([
    () => [`set ${key} ${value}`, model.set(key, value)] as const,
    () => [`set ${key} ${value}`, model.set(key, value)] as const,
    () => [`get ${key}`, model.get(key)] as const,
    () => [`get absent ${key}`, 'err usage: get KEY'] as const,
    () => [`ping ${value}`, `pong ${value}`] as const,
    () => ['sum', model.sum()] as const,
  ])();
}

/** Fixed commands: every reply kv knows, with and without request ids. */
function fixedCommands(model: KvModel): (readonly [command: string, reply: string])[] {
  return [
    ['get nothing', 'none'],
    ['set a one two  three ', model.set('a', 'one two  three ')],
    ['#x get a', `#x ${model.get('a')}`],
    ['set a 2', model.set('a', '2')],
    ['#1 sum', `#1 ${model.sum()}`],
    ['check', model.check()],
    ['#fill fill 1022', `#fill ${model.fill(1022)}`],
    ['check', model.check()],
    ['ping', 'pong '],
    ['set a', 'err usage: set KEY VALUE'],
    [`set ${'k'.repeat(65)} v`, 'err key longer than 64 bytes'],
    [`set k ${'v'.repeat(1025)}`, 'err value longer than 1024 bytes'],
    [`#long ping ${'p'.repeat(2100)}`, '#long err line longer than 2048 bytes'],
    ['fill 12x', 'err usage: fill KIB'],
    ['# nonsense', '# err unknown command'],
  ];
}

/**
 * Talks to a kv guest that was just started; answers what it said and what it should have said.
 * All commands go out as one burst: kv must drain and keep what arrives while it works.
 */
export async function kvDialogue(
  guest: Conversation,
  seed: number,
  randomCommands: number,
): Promise<{ said: string[]; expected: string[] }> {
  const random = new Random(seed);
  const model = new KvModel();
  const commands = fixedCommands(model);
  for (let i = 0; i < randomCommands; i++) commands.push(randomCommand(random, model));
  commands.push(['check', model.check()], ['ping end', 'pong end']);

  const greeting = await guest.readTo('\n');
  guest.send(commands.map(([command]) => `${command}\n`).join(''));
  const replies = await guest.readTo('pong end\n');
  return {
    said: `${greeting}${replies}`.trimEnd().split('\n'),
    expected: [`kv ready ${TABLE_BLOCKS}`, ...commands.map(([, reply]) => reply)],
  };
}
