/**
 * What a debugger's packets mean for the machine: commands in, answers out, no socket and no clock.
 *
 * packet -> [session] -> answer, or harts to resume
 *
 * All-stop: while one hart is looked at, none runs. A hart is a thread, numbered from 1. Breakpoints are
 * compared with the pc by the core (setBreakpoints), so those of software and of hardware are one kind,
 * they hold in every address space, and the guest's memory is not patched. A command that is not in the
 * table gets the empty answer, which means "not supported".
 */
import * as own from '../../assembly/machine-map.ts';
import * as map from '../../assembly/memory-map.ts';
import { setBreakpoints } from '../machine.ts';
import type { RunEnd, Turns } from '../turns.ts';
import { readMemory, type Translation, writeMemory } from './memory.ts';
import { PACKET_BYTES_MAX } from './packets.ts';
import { readGeneral, readRegister, TARGET_XML, writeGeneral, writeRegister } from './registers.ts';

/** Which harts go on, and which of them by one instruction only. */
export interface Resume {
  readonly runs: ReadonlySet<number>;
  readonly steps: ReadonlySet<number>;
}

export interface Answer {
  /** Undefined: none now; a resumed guest answers when it stops. */
  readonly reply?: string;
  readonly next?: 'detach' | 'kill' | Resume;
}

/** GDB's numbers of signals. */
export const SIGNAL = { interrupt: 2, trap: 5, segmentation: 11 } as const;

const OK: Answer = { reply: 'OK' };
const UNSUPPORTED: Answer = { reply: '' };
/** GDB shows the number and nothing else: an argument that makes no sense; memory that is not there. */
const BAD_ARGUMENT: Answer = { reply: 'E16' };
const BAD_ADDRESS: Answer = { reply: 'E0e' };
const TOO_MANY: Answer = { reply: 'E1c' };

/** Bytes of memory in one packet: two digits each, and room for a command's own text. */
const MEMORY_BYTES_MAX = PACKET_BYTES_MAX / 2 - 64;
const PRIVILEGES: Readonly<Record<string, string>> = { 0: 'user', 1: 'supervisor', 3: 'machine' };

type Handler = (session: GdbSession, argument: string) => Answer;

/** By the beginning of a packet; a longer beginning comes before the shorter ones it starts with. */
const COMMANDS: readonly (readonly [string, Handler])[] = [
  ['qSupported', () => reply(`PacketSize=${PACKET_BYTES_MAX.toString(16)};${FEATURES}`)],
  ['qXfer:features:read:target.xml:', (_session, range) => xfer(TARGET_XML, range)],
  ['qThreadExtraInfo,', (session, thread) => session.describeThread(thread)],
  ['qfThreadInfo', (session) => reply(`m${session.threads().join(',')}`)],
  ['qsThreadInfo', () => reply('l')],
  ['qAttached', () => reply('1')],
  ['qC', (session, more) => (more === '' ? reply(`QC${id(session.selected)}`) : UNSUPPORTED)],
  ['vCont?', () => reply('vCont;c;C;s;S')],
  ['vCont', (session, actions) => session.resumeSome(actions)],
  ['vKill', () => ({ reply: 'OK', next: 'kill' })],
  ['?', (session) => reply(session.stopReply())],
  ['g', (session) => reply(readGeneral(session.guest, session.selected))],
  ['G', (session, hex) => okIf(writeGeneral(session.guest, session.selected, hex))],
  ['p', (session, number) => session.readOne(number)],
  ['P', (session, assignment) => session.writeOne(assignment)],
  ['m', (session, range) => session.read(range)],
  ['M', (session, argument) => session.write(argument, 'hex')],
  ['X', (session, argument) => session.write(argument, 'latin1')],
  ['Z', (session, argument) => session.breakpoint(argument, true)],
  ['z', (session, argument) => session.breakpoint(argument, false)],
  ['H', (session, argument) => session.select(argument)],
  ['T', (session, thread) => okIf(session.hartOf(thread) !== undefined)],
  ['c', (session, address) => session.resumeAll(address, false)],
  ['C', (session, signal) => session.resumeAll(afterSignal(signal), false)],
  ['s', (session, address) => session.resumeAll(address, true)],
  ['S', (session, signal) => session.resumeAll(afterSignal(signal), true)],
  ['D', () => ({ reply: 'OK', next: 'detach' })],
  ['k', () => ({ next: 'kill' })],
];
const FEATURES = 'QStartNoAckMode+;qXfer:features:read+;vContSupported+';

export class GdbSession {
  readonly guest: Turns['guest'];
  /** The hart that registers and memory are read of. */
  selected = 0;
  #signal: number = SIGNAL.trap;
  readonly #breaks = new Set<bigint>();

  constructor(turns: Turns) {
    this.guest = turns.guest;
  }

  handle(payload: Buffer): Answer {
    const text = payload.toString('latin1');
    const row = COMMANDS.find(([begins]) => text.startsWith(begins));
    return row === undefined ? UNSUPPORTED : row[1](this, text.slice(row[0].length));
  }

  /** The machine stands, because of this hart. Returns what the debugger is told. */
  stopped(hart: number, signal: number): string {
    this.selected = hart;
    this.#signal = signal;
    return this.stopReply();
  }

  /** The debugger is gone: nothing of it stays behind in the machine. */
  close(): void {
    this.#breaks.clear();
    setBreakpoints(this.guest, []);
  }

  armBreakpoints(armed: boolean): void {
    setBreakpoints(this.guest, armed ? [...this.#breaks] : []);
  }

  stopReply(): string {
    return `T${hex8(this.#signal)}thread:${id(this.selected)};`;
  }

  // ------------------------------------------------------------------------------- threads

  threads(): string[] {
    return Array.from({ length: this.guest.harts }, (_, hart) => id(hart));
  }

  /** Undefined: there is no such thread. */
  hartOf(thread: string): number | undefined {
    const number = parseHex(thread);
    const hart = number === undefined ? -1 : Number(number) - 1;
    return hart >= 0 && hart < this.guest.harts ? hart : undefined;
  }

  describeThread(thread: string): Answer {
    const hart = this.hartOf(thread);
    if (hart === undefined) return BAD_ARGUMENT;
    const mode = PRIVILEGES[Number(this.#field(hart, own.HART_PRIVILEGE))] ?? 'unknown';
    const waits = this.#field(hart, own.HART_WFI) === 0n ? '' : ', waits for an interrupt';
    return reply(Buffer.from(`hart ${hart}, ${mode} mode${waits}`).toString('hex'));
  }

  /** Hg or Hc; 0 and -1 mean any and all. Only "g" is kept: "c" belongs to commands vCont replaced. */
  select(argument: string): Answer {
    const thread = argument.slice(1);
    if (argument[0] === 'c' || thread === '0' || thread === '-1') return OK;
    const hart = this.hartOf(thread);
    if (argument[0] !== 'g' || hart === undefined) return BAD_ARGUMENT;
    this.selected = hart;
    return OK;
  }

  // ---------------------------------------------------------------------- registers, memory

  readOne(argument: string): Answer {
    const number = parseHex(argument);
    if (number === undefined) return BAD_ARGUMENT;
    const value = readRegister(this.guest, this.selected, Number(number));
    return value === undefined ? BAD_ARGUMENT : reply(value);
  }

  writeOne(argument: string): Answer {
    const [name = '', hex = ''] = argument.split('=');
    const number = parseHex(name);
    if (number === undefined) return BAD_ARGUMENT;
    return okIf(writeRegister(this.guest, this.selected, Number(number), hex));
  }

  read(argument: string): Answer {
    const range = parseRange(argument);
    if (range === undefined || range.length > MEMORY_BYTES_MAX) return BAD_ARGUMENT;
    const bytes = readMemory(this.guest, this.#translation(), range.address, range.length);
    return bytes.length > 0 || range.length === 0 ? reply(bytes.toString('hex')) : BAD_ADDRESS;
  }

  write(argument: string, encoding: 'hex' | 'latin1'): Answer {
    const colon = argument.indexOf(':');
    const range = parseRange(argument.slice(0, Math.max(colon, 0)));
    const bytes = Buffer.from(argument.slice(colon + 1), encoding);
    if (range === undefined || bytes.length !== range.length) return BAD_ARGUMENT;
    const isWhole = writeMemory(this.guest, this.#translation(), range.address, bytes);
    return isWhole ? OK : BAD_ADDRESS;
  }

  /** Kinds 0 and 1: software and hardware. Watchpoints are not supported. */
  breakpoint(argument: string, insert: boolean): Answer {
    const [kind, place = ''] = argument.split(',');
    if (kind !== '0' && kind !== '1') return UNSUPPORTED;
    const address = parseHex(place);
    if (address === undefined) return BAD_ARGUMENT;
    if (!insert) this.#breaks.delete(address);
    else if (this.#breaks.size < map.BREAKS_MAX) this.#breaks.add(address);
    else return TOO_MANY;
    return OK;
  }

  // -------------------------------------------------------------------------------- running

  /** c, s: all harts go on, or the selected one by a step, at another address when one is given. */
  resumeAll(address: string, steps: boolean): Answer {
    if (address !== '') {
      const pc = parseHex(address);
      if (pc === undefined) return BAD_ARGUMENT;
      const at = map.HARTS + this.selected * map.HART_SIZE + own.HART_PC;
      Atomics.store(this.guest.i64, at >> 3, BigInt.asIntN(64, pc & ~1n));
    }
    const all = new Set(Array.from({ length: this.guest.harts }, (_, hart) => hart));
    const one = new Set([this.selected]);
    return { next: steps ? { runs: one, steps: one } : { runs: all, steps: new Set() } };
  }

  /** vCont;ACTION[:THREAD]...: for each hart the first action that names it, or names none. */
  resumeSome(argument: string): Answer {
    const actions = argument.split(';').slice(1).map(parseAction);
    const runs = new Set<number>();
    const steps = new Set<number>();
    for (let hart = 0; hart < this.guest.harts; hart++) {
      const action = actions.find(
        (each) => each?.thread === undefined || this.#isMeant(each, hart),
      );
      if (action === undefined) continue;
      runs.add(hart);
      if (action.steps) steps.add(hart);
    }
    const isBad = actions.length === 0 || actions.includes(undefined) || runs.size === 0;
    return isBad ? BAD_ARGUMENT : { next: { runs, steps } };
  }

  #isMeant({ thread }: { thread?: string }, hart: number): boolean {
    return thread === '-1' || thread === '0' || this.hartOf(thread!) === hart;
  }

  /** How the selected hart translates. */
  #translation(): Translation {
    return {
      privilege: this.#field(this.selected, own.HART_PRIVILEGE),
      satp: this.#field(this.selected, own.HART_SATP),
    };
  }

  #field(hart: number, offset: number): bigint {
    const at = map.HARTS + hart * map.HART_SIZE + offset;
    return BigInt.asUintN(64, Atomics.load(this.guest.i64, at >> 3));
  }
}

/** The last a debugger hears: the program has ended. */
export function exitReply({ end, code }: RunEnd): string {
  return end === 'killed' ? 'X09' : `W${hex8(code & 0xff)}`;
}

function parseAction(text: string): { steps: boolean; thread?: string } | undefined {
  const [action = '', thread] = text.split(':');
  if (!/^([cs]|[CS][0-9a-f]{2})$/i.test(action)) return undefined;
  return { steps: /^s/i.test(action), ...(thread !== undefined && { thread }) };
}

/** C and S name a signal, which no hart can be sent, and perhaps an address after it. */
function afterSignal(argument: string): string {
  return argument.split(';')[1] ?? '';
}

/** One piece of a document; "l" marks the last. */
function xfer(document: string, argument: string): Answer {
  const range = parseRange(argument);
  if (range === undefined) return BAD_ARGUMENT;
  const from = Number(range.address);
  const piece = document.slice(from, from + Math.min(range.length, MEMORY_BYTES_MAX));
  return reply((from + piece.length < document.length ? 'm' : 'l') + piece);
}

function parseRange(text: string): { address: bigint; length: number } | undefined {
  const [address, length, more] = text.split(',').map(parseHex);
  if (address === undefined || length === undefined || more !== undefined) return undefined;
  return { address, length: Number(length) };
}

/** At most 64 bits; undefined: not a number in hex. */
function parseHex(text: string): bigint | undefined {
  return /^[0-9a-fA-F]{1,16}$/.test(text) ? BigInt(`0x${text}`) : undefined;
}

function reply(text: string): Answer {
  return { reply: text };
}

function okIf(good: boolean): Answer {
  return good ? OK : BAD_ARGUMENT;
}

function id(hart: number): string {
  return (hart + 1).toString(16);
}

function hex8(value: number): string {
  return value.toString(16).padStart(2, '0');
}
