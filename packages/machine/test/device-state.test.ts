/** The devices' registers in machine state: all move, bad ones are refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as own from '../assembly/machine-map.ts';
import { checkDevices } from '../src/device-state.ts';
import { MachineError } from '../src/errors.ts';
import { captureState, decodeState, encodeState, restoreState } from '../src/machine-state.ts';
import { DATA, HartBench } from './support/hart-bench.ts';
import { Mmio } from './support/mmio.ts';
import { VirtioDriver, WRITE } from './support/virtio-driver.ts';

const from = new HartBench({ harts: 2 });
const to = new HartBench({ harts: 2 });
const source = new Mmio(from);
const target = new Mmio(to);

function move(): void {
  to.guest.ram().set(from.guest.ram());
  restoreState(to.guest, decodeState(encodeState(captureState(from.guest))));
}

test('a driver goes on at the target where it was', () => {
  source.reset();
  target.reset();
  const before = new VirtioDriver(source, own.VIRTIO_ENTROPY).start();
  before.submit(0, { address: DATA, bytes: 8, flags: WRITE });
  source.write(own.PLIC_BASE + 4 * (own.IRQ_VIRTIO + own.VIRTIO_ENTROPY), 3);
  source.write(own.PLIC_BASE + 0x2080, 1 << (own.IRQ_VIRTIO + own.VIRTIO_ENTROPY));
  source.write(own.RTC_BASE + 4, 77);
  source.write(own.RTC_BASE, 0);
  move();
  const after = new VirtioDriver(target, own.VIRTIO_ENTROPY);
  assert.equal(target.read(own.PLIC_BASE + 0x201004), 2, 'the interrupt that was pending');
  target.read(own.RTC_BASE);
  assert.equal(target.read(own.RTC_BASE + 4), 77, 'the time that was set');
  const { view } = after;
  const { avail } = after.queues[0]!;
  view.setUint16(avail - 0x80000000 + 6, 0, true);
  view.setUint16(avail - 0x80000000 + 2, 2, true);
  after.notify(0);
  assert.deepEqual(after.used(0), [
    { head: 0, bytes: 8 },
    { head: 0, bytes: 8 },
  ]);
  const first = from.load64(DATA);
  from.guest.ram().set(to.guest.ram());
  source.write(before.base + 0x50, 0);
  assert.notEqual(to.load64(DATA), first, 'the stream of randomness goes on');
  assert.equal(from.load64(DATA), to.load64(DATA), 'and is the same here and there');
});

test('every register that was set is moved', () => {
  const registers: readonly (readonly [number, number])[] = [
    [own.DEVICES_SUPERVISOR, 2],
    [own.DEVICES_SSIP, 2],
    [own.RTC_OFFSET, 8],
    [own.ENTROPY_KEY, 5],
    [own.SBI_TIMECMP, 2],
    [own.HSM_STATE, 2],
    [own.HSM_ADDRESS, 2],
    [own.HSM_ARGUMENT, 2],
    [own.PLIC_PRIORITY, 32],
    [own.PLIC_ENABLE, 4],
    [own.PLIC_THRESHOLD, 4],
    [own.PLIC_CLAIMED, 1],
    [own.VIRTIO_DEVICES, 6],
    [own.VIRTIO_DEVICES + own.VIRTIO_QUEUES, 6],
    [own.VIRTIO_DEVICES + own.VIRTIO_DEVICE_SIZE + own.VIRTIO_QUEUES + own.VIRTIO_QUEUE_SIZE, 6],
  ];
  source.reset();
  target.reset();
  for (const [at, count] of registers) from.guest.i64.fill(1n, at / 8, at / 8 + count);
  move();
  for (const [at, count] of registers) {
    const words = to.guest.i64.slice(at / 8, at / 8 + count);
    assert.ok(
      words.every((word) => word === 1n),
      `word ${at - own.DEVICES_LOCK} of the devices: ${words}`,
    );
  }
});

test('a state the core could not go on from is refused', () => {
  source.reset();
  const queue = 'devices.virtio.1.queues.0';
  const good = captureState(from.guest).machine.with({
    [`${queue}.ready`]: 1n,
    [`${queue}.num`]: 8n,
  });
  checkDevices(good);
  const bads = {
    'devices.supervisor': [2n],
    'devices.console': [2n],
    'devices.sbi.hsm': [3n],
    'devices.plic.priority': [8n],
    [`${queue}.num`]: [0n, 3n, 128n],
    [`${queue}.taken`]: [65536n],
  };
  for (const [name, values] of Object.entries(bads)) {
    for (const value of values) {
      assert.throws(
        () => checkDevices(good.with({ [name]: value })),
        (error) => error instanceof MachineError && error.message.includes(name),
      );
    }
  }
});
