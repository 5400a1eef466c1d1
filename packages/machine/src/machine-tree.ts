/**
 * What the machine tells a kernel about itself: the device tree of this computer.
 *
 * linux-loader.ts -> [machine tree] -> device-tree.ts -> blob in RAM
 *
 * Numbers come from the machine's map, so that the tree cannot say anything else than the bus does.
 * Compatible strings are those of QEMU's virt machine and of the kernel's bindings for them.
 */
import * as own from '../assembly/machine-map.ts';
import {
  cells,
  type DeviceTreeNode,
  PRESENT,
  text,
  texts,
  wideCells,
  writeDeviceTree,
} from './device-tree.ts';

export interface MachineTree {
  readonly harts: number;
  readonly ramBytes: number;
  readonly bootargs: string;
  /** 32 bytes for the kernel's random number generator at its start. */
  readonly rngSeed: Uint8Array;
  /** Physical addresses; end is past the last byte. */
  readonly initrd?: { readonly start: number; readonly end: number } | undefined;
  readonly console: 'uart' | 'virtio';
}

/** Extensions the harts have; a kernel uses what is listed. */
const ISA_BASE = 'rv64i';
const ISA_EXTENSIONS = ['i', 'm', 'a', 'f', 'd', 'c', 'zicsr', 'zifencei'] as const;
const ISA_STRING = 'rv64imafdc_zicsr_zifencei';

const TIMEBASE_HZ = 1e9 / own.NANOSECONDS_PER_TICK;
/** What a UART's baud rate is divided from; QEMU's value. Nothing here depends on it. */
const UART_CLOCK_HZ = 3_686_400;

// Phandles: any numbers, each once.
const PLIC_PHANDLE = 1;
const SYSCON_PHANDLE = 2;
const hartPhandle = (hart: number) => 16 + hart;

// Cause numbers of a hart's interrupt inputs: what the interrupt cells below name.
const MACHINE_SOFTWARE = 3;
const MACHINE_TIMER = 7;
const SUPERVISOR_EXTERNAL = 9;
const MACHINE_EXTERNAL = 11;

/** The blob. */
export function machineTree(options: MachineTree): Uint8Array {
  const { ramBytes } = options;
  return writeDeviceTree({
    properties: {
      '#address-cells': cells(2),
      '#size-cells': cells(2),
      compatible: text('riscv-virtio'),
      model: text('godwit,machine'),
    },
    children: {
      chosen: chosen(options),
      aliases: { properties: { serial0: text(uartPath()) } },
      [`memory@${hex(own.RAM_BASE)}`]: {
        properties: { device_type: text('memory'), reg: wideCells(own.RAM_BASE, ramBytes) },
      },
      cpus: cpus(options.harts),
      soc: soc(options.harts),
      poweroff: ending('syscon-poweroff', 0x5555),
      reboot: ending('syscon-reboot', 0x7777),
    },
  });
}

function chosen({ bootargs, rngSeed, initrd, console }: MachineTree): DeviceTreeNode {
  return {
    properties: {
      bootargs: text(bootargs),
      'rng-seed': rngSeed,
      // The virtio console is not there before its driver is; early messages come from the UART.
      ...(console === 'uart' && { 'stdout-path': text(uartPath()) }),
      ...(initrd && {
        'linux,initrd-start': wideCells(initrd.start),
        'linux,initrd-end': wideCells(initrd.end),
      }),
    },
  };
}

function cpus(harts: number): DeviceTreeNode {
  const children = numbers(harts).map((hart) => [`cpu@${hart}`, cpu(hart)] as const);
  return {
    properties: {
      '#address-cells': cells(1),
      '#size-cells': cells(0),
      'timebase-frequency': cells(TIMEBASE_HZ),
    },
    children: Object.fromEntries(children),
  };
}

function cpu(hart: number): DeviceTreeNode {
  return {
    properties: {
      device_type: text('cpu'),
      reg: cells(hart),
      status: text('okay'),
      compatible: text('riscv'),
      'riscv,isa': text(ISA_STRING),
      'riscv,isa-base': text(ISA_BASE),
      'riscv,isa-extensions': texts(...ISA_EXTENSIONS),
      'mmu-type': text('riscv,sv39'),
    },
    children: {
      'interrupt-controller': {
        properties: {
          '#interrupt-cells': cells(1),
          'interrupt-controller': PRESENT,
          compatible: text('riscv,cpu-intc'),
          phandle: cells(hartPhandle(hart)),
        },
      },
    },
  };
}

function soc(harts: number): DeviceTreeNode {
  return {
    properties: {
      '#address-cells': cells(2),
      '#size-cells': cells(2),
      compatible: text('simple-bus'),
      ranges: PRESENT,
    },
    children: {
      [at('test', own.SYSCON_BASE)]: {
        properties: {
          compatible: texts('sifive,test1', 'sifive,test0', 'syscon'),
          reg: wideCells(own.SYSCON_BASE, own.SYSCON_SIZE),
          phandle: cells(SYSCON_PHANDLE),
        },
      },
      [at('rtc', own.RTC_BASE)]: device(
        'google,goldfish-rtc',
        own.RTC_BASE,
        own.RTC_SIZE,
        own.IRQ_RTC,
      ),
      [at('clint', own.CLINT_BASE)]: {
        properties: {
          compatible: texts('sifive,clint0', 'riscv,clint0'),
          reg: wideCells(own.CLINT_BASE, own.CLINT_SIZE),
          'interrupts-extended': inputs(harts, MACHINE_SOFTWARE, MACHINE_TIMER),
        },
      },
      [at('plic', own.PLIC_BASE)]: plic(harts),
      [at('serial', own.UART_BASE)]: uart(),
      ...Object.fromEntries(numbers(own.VIRTIO_COUNT).map(virtio)),
    },
  };
}

function plic(harts: number): DeviceTreeNode {
  return {
    properties: {
      compatible: texts('sifive,plic-1.0.0', 'riscv,plic0'),
      reg: wideCells(own.PLIC_BASE, own.PLIC_SIZE),
      '#interrupt-cells': cells(1),
      '#address-cells': cells(0),
      'interrupt-controller': PRESENT,
      'interrupts-extended': inputs(harts, MACHINE_EXTERNAL, SUPERVISOR_EXTERNAL),
      'riscv,ndev': cells(own.IRQ_MAX),
      phandle: cells(PLIC_PHANDLE),
    },
  };
}

function uart(): DeviceTreeNode {
  const node = device('ns16550a', own.UART_BASE, own.UART_SIZE, own.IRQ_UART);
  return { properties: { ...node.properties, 'clock-frequency': cells(UART_CLOCK_HZ) } };
}

function virtio(n: number): [string, DeviceTreeNode] {
  const base = own.VIRTIO_BASE + n * own.VIRTIO_SIZE;
  return [
    at('virtio_mmio', base),
    device('virtio,mmio', base, own.VIRTIO_SIZE, own.IRQ_VIRTIO + n),
  ];
}

function device(compatible: string, base: number, size: number, irq: number): DeviceTreeNode {
  return {
    properties: {
      compatible: text(compatible),
      reg: wideCells(base, size),
      interrupts: cells(irq),
      'interrupt-parent': cells(PLIC_PHANDLE),
    },
  };
}

/** A value for the syscon that ends the guest. */
function ending(compatible: string, value: number): DeviceTreeNode {
  return {
    properties: {
      compatible: text(compatible),
      regmap: cells(SYSCON_PHANDLE),
      offset: cells(0),
      value: cells(value),
    },
  };
}

/** The two named inputs of every hart. */
function inputs(harts: number, first: number, second: number): Uint8Array {
  return cells(
    ...numbers(harts).flatMap((hart) => [hartPhandle(hart), first, hartPhandle(hart), second]),
  );
}

function uartPath(): string {
  return `/soc/${at('serial', own.UART_BASE)}`;
}

function at(name: string, address: number): string {
  return `${name}@${hex(address)}`;
}

function hex(address: number): string {
  return address.toString(16);
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
