/**
 * Two facades in one process, for the tests of the data path: real threads, real sockets on loopback,
 * a source full of random bytes and a target full of 0xA5.
 */
import { randomBytes, randomFillSync } from 'node:crypto';
import type { TestContext } from 'node:test';
import { GuestMemory, memoryMap, PageStates, ringBell, waitForWord } from '@godwit/machine';
import {
  emptyHeader,
  encodeHeader,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  type GodwitError,
  PAGE_BYTES,
} from '@godwit/protocol';
import { RegionTable } from '../src/channel/regions.ts';
import { SourceChannels, type SourceChannelsOptions } from '../src/source/source-channels.ts';
import { TargetChannels } from '../src/target/target-channels.ts';

export const MIB = 1048576;
/** Pages are not checked. */
export const NO_HASHES = new Uint8Array(0);
export const HOST = '127.0.0.1';

export interface Pair {
  readonly source: GuestMemory;
  readonly target: GuestMemory;
  readonly regions: RegionTable;
  readonly writeKey: number;
  readonly landKey: number;
  readonly sending: SourceChannels;
  readonly landing: TargetChannels;
  readonly sourceFailures: GodwitError[];
  readonly targetFailures: GodwitError[];
  close(): Promise<void>;
}

export function randomGuest(ramBytes: number): GuestMemory {
  const guest = GuestMemory.create({ ramBytes, harts: 2 });
  for (let at = 0; at < ramBytes; at += MIB) randomFillSync(guest.ram().subarray(at, at + MIB));
  return guest;
}

export function poisonedGuest(ramBytes: number): GuestMemory {
  const guest = GuestMemory.create({ ramBytes, harts: 2 });
  guest.ram().fill(0xa5);
  return guest;
}

export function sourceOptions(memory: GuestMemory, channels: number): SourceChannelsOptions {
  return {
    memory,
    migration: randomBytes(8).toString('hex'),
    capability: randomBytes(32).toString('hex'),
    channels,
    faults: true,
    listenHost: HOST,
    ports: null,
    maxBandwidthBytes: 0,
  };
}

interface PairOptions {
  /** Where the target finds a port of the source; a proxy stands in between in some tests. */
  readonly route?: (port: number) => Promise<number>;
  /** The same of the faults port alone; the pair is ready without that channel then. */
  readonly faultsRoute?: (port: number) => Promise<number>;
  /** The target's memory is all zero, and it knows. */
  readonly fresh?: boolean;
  /** Whether pages may be missing in the end. */
  readonly faults?: boolean;
}

export async function openPair(
  t: TestContext,
  ramBytes: number,
  channels: number,
  { route = async (port) => port, faultsRoute, fresh = false, faults = true }: PairOptions = {},
): Promise<Pair> {
  const source = randomGuest(ramBytes);
  const target = fresh ? GuestMemory.create({ ramBytes, harts: 2 }) : poisonedGuest(ramBytes);
  const regions = new RegionTable();
  const whole = { firstPage: 0, pages: target.pages };
  const writeKey = regions.registerRegion({ ...whole, access: 'write' }).rkey;
  const landKey = regions.registerRegion({ ...whole, access: 'land' }).rkey;
  const sourceFailures: GodwitError[] = [];
  const targetFailures: GodwitError[] = [];
  const options = sourceOptions(source, channels);
  const sending = await SourceChannels.open({
    ...options,
    faults,
    onFailed: (error) => sourceFailures.push(error),
  });
  const landing = await TargetChannels.open({
    fresh,
    memory: target,
    regions,
    migration: options.migration,
    capability: options.capability,
    host: HOST,
    pagePorts: await Promise.all(sending.pagePorts.map(route)),
    faultsPort: faults ? await (faultsRoute ?? route)(sending.faultsPort) : 0,
    readKey: sending.readKey,
    onFailed: (error) => targetFailures.push(error),
  });
  await sending.attached('pages');
  if (faultsRoute === undefined) await sending.attached('faults');
  const close = async () => void (await Promise.all([sending.close(), landing.close()]));
  // A test that failed half way must not hold the process open; closing twice is harmless.
  t.after(close);
  return {
    source,
    target,
    regions,
    writeKey,
    landKey,
    sending,
    landing,
    sourceFailures,
    targetFailures,
    close,
  };
}

/** A frame as a peer would send it. */
export function frameBytes(fields: Partial<FrameHeader>, payload = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES + payload.length);
  encodeHeader(new DataView(bytes.buffer, bytes.byteOffset), 0, { ...emptyHeader(), ...fields });
  bytes.set(payload, FRAME_HEADER_BYTES);
  return bytes;
}

export function sameBytes(a: GuestMemory, b: GuestMemory): boolean {
  return Buffer.compare(a.ram(), b.ram()) === 0;
}

/** Every page in the bitmap. */
export function allPages(guest: GuestMemory): Uint32Array<ArrayBuffer> {
  return new Uint32Array(guest.pages / 32).fill(0xffffffff);
}

/** Makes the missing pages absent and the states count, as the runner does before LANDED. */
export function gate(guest: GuestMemory, missing: Uint32Array): PageStates {
  const states = new PageStates(guest);
  states.setAbsentFrom(missing);
  states.setGated(true);
  return states;
}

/** What a hart does at an absent page: names it in its slot, rings, waits until it is woken. */
export async function fault(guest: GuestMemory, hart: number, page: number): Promise<boolean> {
  const { i32 } = guest;
  const slot = guest.hartWord(hart, memoryMap.HART_FAULT_STATE);
  Atomics.store(i32, guest.hartWord(hart, memoryMap.HART_FAULT_PAGE), page);
  Atomics.add(i32, guest.hartWord(hart, memoryMap.HART_FAULT_SEQUENCE), 1);
  Atomics.store(i32, slot, memoryMap.FAULT_WAITING);
  ringBell(i32, memoryMap.CONTROL_BELL_FAULT >> 2);
  return waitForWord(i32, slot, () => Atomics.load(i32, slot) === memoryMap.FAULT_NONE, 10_000);
}

/** Changes some pages; returns them as a bitmap. */
export function scribble(guest: GuestMemory, every: number): Uint32Array<ArrayBuffer> {
  const dirty = new Uint32Array(guest.pages / 32);
  for (let page = 0; page < guest.pages; page += every) {
    dirty[page >>> 5]! |= 1 << (page & 31);
    guest.ram()[page * PAGE_BYTES + 17]! ^= 0xff;
  }
  return dirty;
}
