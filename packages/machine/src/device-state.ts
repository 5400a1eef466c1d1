/**
 * The devices' part of machine state: what of them moves with a guest.
 *
 * DEVICES area <-> [device state] <-> machine-state.ts
 *
 * Main thread, harts stopped. A device has no request in flight then (assembly/dma.ts), and its interrupt
 * lines are computed, so its registers are all there is.
 */
import * as own from '../assembly/machine-map.ts';
import { MachineError } from './errors.ts';
import type { GuestMemory } from './guest-memory.ts';
import { FieldReader, type StateRecord } from './state-codec.ts';
import {
  type Fields,
  getFields,
  putFields,
  setWord,
  setWords,
  takeFields,
  word,
  words,
} from './state-fields.ts';

const RTC_FIELDS = {
  offset: own.RTC_OFFSET,
  alarm: own.RTC_ALARM,
  armed: own.RTC_ARMED,
  pending: own.RTC_PENDING,
  enabled: own.RTC_ENABLED,
  highRead: own.RTC_HIGH_READ,
  highWritten: own.RTC_HIGH_WRITTEN,
  alarmHigh: own.RTC_ALARM_HIGH,
} as const;

/** Of each virtio device, and of each of its queues. */
const VIRTIO_FIELDS = {
  status: own.VIRTIO_STATUS,
  deviceFeaturesSel: own.VIRTIO_DEVICE_FEATURES_SEL,
  driverFeaturesSel: own.VIRTIO_DRIVER_FEATURES_SEL,
  driverFeatures: own.VIRTIO_DRIVER_FEATURES,
  queueSel: own.VIRTIO_QUEUE_SEL,
  interruptStatus: own.VIRTIO_INTERRUPT_STATUS,
} as const;
const QUEUE_FIELDS = {
  num: own.QUEUE_NUM,
  ready: own.QUEUE_READY,
  desc: own.QUEUE_DESC,
  driver: own.QUEUE_DRIVER,
  device: own.QUEUE_DEVICE,
  taken: own.QUEUE_TAKEN,
} as const;

/** Lists with one number for each hart, and where they are. */
const SBI_LISTS = {
  software: own.DEVICES_SSIP,
  timecmp: own.SBI_TIMECMP,
  hsm: own.HSM_STATE,
  address: own.HSM_ADDRESS,
  argument: own.HSM_ARGUMENT,
} as const;

type QueueState = Fields<typeof QUEUE_FIELDS>;
type VirtioState = Fields<typeof VIRTIO_FIELDS> & { readonly queues: readonly QueueState[] };

export interface DeviceState {
  /** 1 = started in supervisor mode. */
  readonly supervisor: bigint;
  readonly console: bigint;
  readonly sbi: { readonly [K in keyof typeof SBI_LISTS]: BigUint64Array };
  readonly plic: {
    readonly priority: BigUint64Array;
    readonly enable: BigUint64Array;
    readonly threshold: BigUint64Array;
    readonly claimed: bigint;
  };
  readonly rtc: Fields<typeof RTC_FIELDS>;
  readonly entropy: { readonly key: BigUint64Array; readonly blocks: bigint };
  readonly virtio: readonly VirtioState[];
}

const SOURCES = own.IRQ_MAX + 1;
const KEY_WORDS = 4;

const devices = Array.from({ length: own.VIRTIO_COUNT }, (_, i) => i);
const queues = Array.from({ length: own.VIRTIO_QUEUES_MAX }, (_, i) => i);
const virtioAt = (device: number) => own.VIRTIO_DEVICES + device * own.VIRTIO_DEVICE_SIZE;
const queueAt = (device: number, queue: number) =>
  virtioAt(device) + own.VIRTIO_QUEUES + queue * own.VIRTIO_QUEUE_SIZE;

export function captureDevices(guest: GuestMemory): DeviceState {
  const { harts } = guest;
  return {
    supervisor: word(guest, own.DEVICES_SUPERVISOR),
    console: word(guest, own.DEVICES_CONSOLE),
    sbi: mapLists((at) => words(guest, at, harts)),
    plic: {
      priority: words(guest, own.PLIC_PRIORITY, SOURCES),
      enable: words(guest, own.PLIC_ENABLE, 2 * harts),
      threshold: words(guest, own.PLIC_THRESHOLD, 2 * harts),
      claimed: word(guest, own.PLIC_CLAIMED),
    },
    rtc: getFields(guest, 0, RTC_FIELDS),
    entropy: {
      key: words(guest, own.ENTROPY_KEY, KEY_WORDS),
      blocks: word(guest, own.ENTROPY_BLOCKS),
    },
    virtio: devices.map((device) => ({
      ...getFields(guest, virtioAt(device), VIRTIO_FIELDS),
      queues: queues.map((queue) => getFields(guest, queueAt(device, queue), QUEUE_FIELDS)),
    })),
  };
}

/** The state has been checked (checkDevices). */
export function restoreDevices(guest: GuestMemory, state: DeviceState): void {
  const { sbi, plic, entropy } = state;
  setWord(guest, own.DEVICES_SUPERVISOR, state.supervisor);
  setWord(guest, own.DEVICES_CONSOLE, state.console);
  for (const [name, at] of Object.entries(SBI_LISTS)) {
    setWords(guest, at, sbi[name as keyof typeof SBI_LISTS]);
  }
  setWords(guest, own.PLIC_PRIORITY, plic.priority);
  setWords(guest, own.PLIC_ENABLE, plic.enable);
  setWords(guest, own.PLIC_THRESHOLD, plic.threshold);
  setWord(guest, own.PLIC_CLAIMED, plic.claimed);
  putFields(guest, 0, RTC_FIELDS, state.rtc);
  setWords(guest, own.ENTROPY_KEY, entropy.key);
  setWord(guest, own.ENTROPY_BLOCKS, entropy.blocks);
  for (const [device, virtio] of state.virtio.entries()) {
    putFields(guest, virtioAt(device), VIRTIO_FIELDS, virtio);
    for (const [queue, fields] of virtio.queues.entries()) {
      putFields(guest, queueAt(device, queue), QUEUE_FIELDS, fields);
    }
  }
}

/** @throws MachineError state.bad_field */
export function readDevices(record: StateRecord, version: number, harts: number): DeviceState {
  const reader = new FieldReader(record, 'machine.devices', version);
  const part = (name: string) =>
    new FieldReader(reader.record(name), `machine.devices.${name}`, version);
  const [sbi, plic, rtc, entropy] = [part('sbi'), part('plic'), part('rtc'), part('entropy')];
  const state: DeviceState = {
    supervisor: reader.u64('supervisor'),
    console: reader.u64('console'),
    sbi: mapLists((_, name) => sbi.u64s(name, harts)),
    plic: {
      priority: plic.u64s('priority', SOURCES),
      enable: plic.u64s('enable', 2 * harts),
      threshold: plic.u64s('threshold', 2 * harts),
      claimed: plic.u64('claimed'),
    },
    rtc: takeFields(rtc, RTC_FIELDS),
    entropy: { key: entropy.u64s('key', KEY_WORDS), blocks: entropy.u64('blocks') },
    virtio: reader.list('virtio', devices.length).map((value, device) => {
      const path = `machine.devices.virtio[${device}]`;
      const virtio = new FieldReader(value, path, version);
      const fields = takeFields(virtio, VIRTIO_FIELDS);
      const list = virtio.list('queues', queues.length).map((one, queue) => {
        const inner = new FieldReader(one, `${path}.queues[${queue}]`, version);
        const taken = takeFields(inner, QUEUE_FIELDS);
        inner.end();
        return taken;
      });
      virtio.end();
      return { ...fields, queues: list };
    }),
  };
  for (const one of [sbi, plic, rtc, entropy, reader]) one.end();
  return state;
}

/**
 * What the core takes for granted. Addresses of queues are not among it: they are checked where they
 * are used, as a driver may write any.
 *
 * @throws MachineError state.bad_field
 */
export function checkDevices(state: DeviceState): void {
  const need = (field: string, good: boolean, reason: string) => {
    if (!good) throw new MachineError('state.bad_field', { field: `devices.${field}`, reason });
  };
  need('supervisor', state.supervisor <= 1n, 'is neither 0 nor 1');
  need('console', state.console <= BigInt(own.CONSOLE_AT_VIRTIO), 'is no console');
  const isHsm = (value: bigint) => value <= BigInt(own.HSM_START_PENDING);
  need('sbi.hsm', state.sbi.hsm.every(isHsm), 'has an unknown state');
  const isPriority = (value: bigint) => value <= 7n;
  need('plic.priority', state.plic.priority.every(isPriority), 'is above 7');
  for (const [device, { queues }] of state.virtio.entries()) {
    for (const [queue, { num, ready, taken }] of queues.entries()) {
      const field = `virtio[${device}].queues[${queue}]`;
      need(`${field}.num`, ready === 0n || isQueueLength(num), 'is no length of a queue');
      need(`${field}.taken`, taken <= 0xffffn, 'has more than 16 bits');
    }
  }
}

function isQueueLength(num: bigint): boolean {
  return num > 0n && num <= BigInt(own.QUEUE_NUM_MAX) && (num & (num - 1n)) === 0n;
}

function mapLists(make: (at: number, name: string) => BigUint64Array): DeviceState['sbi'] {
  const entries = Object.entries(SBI_LISTS).map(([name, at]) => [name, make(at, name)]);
  return Object.fromEntries(entries) as DeviceState['sbi'];
}
