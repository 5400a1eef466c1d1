/**
 * A virtio driver in a few lines: sets a device up, offers chains of buffers, looks into the used ring.
 * Wants nothing of its peer but what the specification says, and can be told to break the rules.
 */
import * as own from '../../assembly/machine-map.ts';
import { RAM_BASE } from './hart-bench.ts';
import type { Mmio } from './mmio.ts';

export const NEXT = 1;
export const WRITE = 2;
export const INDIRECT = 4;
const VERSION_1_HIGH = 1;
const QUEUE_AREA = 0x4000;

export interface Descriptor {
  readonly address: number | bigint;
  readonly bytes: number;
  readonly flags?: number;
  readonly next?: number;
}

export class VirtioDriver {
  readonly base: number;
  readonly num: number;
  /** Physical address of each queue's areas: descriptors, then available, then used ring. */
  readonly queues: readonly {
    readonly desc: number;
    readonly avail: number;
    readonly used: number;
  }[];
  readonly #mmio: Mmio;
  readonly #offered = [0, 0];

  constructor(mmio: Mmio, device: number, num = 8) {
    this.#mmio = mmio;
    this.base = own.VIRTIO_BASE + device * own.VIRTIO_SIZE;
    this.num = num;
    this.queues = [0, 1].map((queue) => {
      const desc = RAM_BASE + QUEUE_AREA + (device * 2 + queue) * 0x1000;
      return { desc, avail: desc + 0x400, used: desc + 0x800 };
    });
  }

  read(register: number): number {
    return this.#mmio.read(this.base + register);
  }

  write(register: number, value: number): void {
    this.#mmio.write(this.base + register, value);
  }

  /** From reset to DRIVER_OK, all queues live and empty. */
  start(queues = 1): this {
    this.write(0x70, 0);
    this.write(0x70, 3);
    this.write(0x24, 1);
    this.write(0x20, VERSION_1_HIGH);
    this.write(0x70, 11);
    for (let queue = 0; queue < queues; queue++) this.setQueue(queue);
    this.write(0x70, 15);
    return this;
  }

  setQueue(queue: number, areas = this.queues[queue]!): void {
    const ram = this.#mmio.bench.guest.ram();
    const at = this.queues[queue]!.desc - RAM_BASE;
    ram.fill(0, at, at + 0x1000);
    this.#offered[queue] = 0;
    this.write(0x30, queue);
    this.write(0x38, this.num);
    for (const [register, address] of [
      [0x80, areas.desc],
      [0x90, areas.avail],
      [0xa0, areas.used],
    ] as const) {
      this.write(register, address);
      this.write(register + 4, Math.floor(address / 2 ** 32));
    }
    this.write(0x44, 1);
  }

  describe(queue: number, index: number, descriptor: Descriptor): void {
    const { view } = this;
    const at = this.queues[queue]!.desc - RAM_BASE + index * 16;
    view.setBigUint64(at, BigInt(descriptor.address), true);
    view.setUint32(at + 8, descriptor.bytes, true);
    view.setUint16(at + 12, descriptor.flags ?? 0, true);
    view.setUint16(at + 14, descriptor.next ?? 0, true);
  }

  /** Puts heads into the available ring. */
  offer(queue: number, ...heads: readonly number[]): void {
    const at = this.queues[queue]!.avail - RAM_BASE;
    for (const head of heads) {
      const index = this.#offered[queue]!++;
      this.view.setUint16(at + 4 + (index % this.num) * 2, head, true);
    }
    this.view.setUint16(at + 2, this.#offered[queue]!, true);
  }

  notify(queue: number): void {
    this.write(0x50, queue);
  }

  /** One chain of one buffer, and the bell. */
  submit(queue: number, descriptor: Descriptor): void {
    this.describe(queue, 0, descriptor);
    this.offer(queue, 0);
    this.notify(queue);
  }

  /** Chains the device has given back: {head, bytes}. */
  used(queue: number): { head: number; bytes: number }[] {
    const at = this.queues[queue]!.used - RAM_BASE;
    const count = this.view.getUint16(at + 2, true);
    return Array.from({ length: count }, (_, i) => ({
      head: this.view.getUint32(at + 4 + (i % this.num) * 8, true),
      bytes: this.view.getUint32(at + 8 + (i % this.num) * 8, true),
    }));
  }

  get view(): DataView {
    const ram = this.#mmio.bench.guest.ram();
    return new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  }

  get needsReset(): boolean {
    return (this.read(0x70) & 64) !== 0;
  }
}
