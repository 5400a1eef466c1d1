/**
 * The devices' part of machine state: what of them moves with a guest.
 *
 * DEVICES area -> [device state: places, checks] <- machine-state.ts
 *
 * Main thread, harts stopped. A device has no request in flight then (assembly/dma.ts), and its interrupt
 * lines are computed, so its registers are all there is. The names are paths, as people read them in an
 * error.
 */
import * as own from '../assembly/machine-map.ts';
import { MachineError } from './errors.ts';
import type { Places, Sheet } from './word-sheet.ts';

const VIRTIO = {
  status: own.VIRTIO_STATUS,
  deviceFeaturesSel: own.VIRTIO_DEVICE_FEATURES_SEL,
  driverFeaturesSel: own.VIRTIO_DRIVER_FEATURES_SEL,
  driverFeatures: own.VIRTIO_DRIVER_FEATURES,
  queueSel: own.VIRTIO_QUEUE_SEL,
  interruptStatus: own.VIRTIO_INTERRUPT_STATUS,
} as const;
const QUEUE = {
  num: own.QUEUE_NUM,
  ready: own.QUEUE_READY,
  desc: own.QUEUE_DESC,
  driver: own.QUEUE_DRIVER,
  device: own.QUEUE_DEVICE,
  taken: own.QUEUE_TAKEN,
} as const;

const SOURCES = own.IRQ_MAX + 1;
const KEY_WORDS = 4;

const DEVICES = Array.from({ length: own.VIRTIO_COUNT }, (_, i) => i);
const QUEUES = Array.from({ length: own.VIRTIO_QUEUES_MAX }, (_, i) => i);
const queuePath = (device: number, queue: number) => `devices.virtio.${device}.queues.${queue}`;
const QUEUE_PATHS = DEVICES.flatMap((device) => QUEUES.map((queue) => queuePath(device, queue)));

/** What moves of the devices of a machine with so many harts, from the beginning of its memory. */
export function devicePlaces(harts: number): Places {
  return {
    /** 1 = started in supervisor mode. */
    'devices.supervisor': own.DEVICES_SUPERVISOR,
    'devices.console': own.DEVICES_CONSOLE,
    'devices.sbi.software': [own.DEVICES_SSIP, harts],
    'devices.sbi.timecmp': [own.SBI_TIMECMP, harts],
    'devices.sbi.hsm': [own.HSM_STATE, harts],
    'devices.sbi.address': [own.HSM_ADDRESS, harts],
    'devices.sbi.argument': [own.HSM_ARGUMENT, harts],
    'devices.plic.priority': [own.PLIC_PRIORITY, SOURCES],
    'devices.plic.enable': [own.PLIC_ENABLE, 2 * harts],
    'devices.plic.threshold': [own.PLIC_THRESHOLD, 2 * harts],
    'devices.plic.claimed': own.PLIC_CLAIMED,
    'devices.rtc.offset': own.RTC_OFFSET,
    'devices.rtc.alarm': own.RTC_ALARM,
    'devices.rtc.armed': own.RTC_ARMED,
    'devices.rtc.pending': own.RTC_PENDING,
    'devices.rtc.enabled': own.RTC_ENABLED,
    'devices.rtc.highRead': own.RTC_HIGH_READ,
    'devices.rtc.highWritten': own.RTC_HIGH_WRITTEN,
    'devices.rtc.alarmHigh': own.RTC_ALARM_HIGH,
    'devices.entropy.key': [own.ENTROPY_KEY, KEY_WORDS],
    'devices.entropy.blocks': own.ENTROPY_BLOCKS,
    ...Object.fromEntries(DEVICES.flatMap(virtioPlaces)),
  };
}

/**
 * What the core takes for granted. Addresses of queues are not among it: they are checked where they
 * are used, as a driver may write any.
 *
 * @param machine a sheet with the words of `devicePlaces`
 * @throws MachineError state.bad_field
 */
export function checkDevices(machine: Sheet): void {
  const need = (field: string, good: boolean, reason: string) => {
    if (!good) throw new MachineError('state.bad_field', { field, reason });
  };
  const upTo = (field: string, most: number, reason: string) => {
    const isGood = machine.list(field).every((value) => value <= BigInt(most));
    need(field, isGood, reason);
  };
  upTo('devices.supervisor', 1, 'is neither 0 nor 1');
  upTo('devices.console', own.CONSOLE_AT_VIRTIO, 'is no console');
  upTo('devices.sbi.hsm', own.HSM_START_PENDING, 'has an unknown state');
  upTo('devices.plic.priority', 7, 'is above 7');
  for (const path of QUEUE_PATHS) {
    const num = machine.word(`${path}.num`);
    const isLength = machine.word(`${path}.ready`) === 0n || isQueueLength(num);
    need(`${path}.num`, isLength, 'is no length of a queue');
    upTo(`${path}.taken`, 0xffff, 'has more than 16 bits');
  }
}

function virtioPlaces(device: number): [string, number][] {
  const base = own.VIRTIO_DEVICES + device * own.VIRTIO_DEVICE_SIZE;
  const registers = Object.entries(VIRTIO).map(([name, at]): [string, number] => [
    `devices.virtio.${device}.${name}`,
    base + at,
  ]);
  const queues = QUEUES.flatMap((queue) => {
    const queueBase = base + own.VIRTIO_QUEUES + queue * own.VIRTIO_QUEUE_SIZE;
    return Object.entries(QUEUE).map(([name, at]): [string, number] => [
      `${queuePath(device, queue)}.${name}`,
      queueBase + at,
    ]);
  });
  return [...registers, ...queues];
}

function isQueueLength(num: bigint): boolean {
  return num > 0n && num <= BigInt(own.QUEUE_NUM_MAX) && (num & (num - 1n)) === 0n;
}
