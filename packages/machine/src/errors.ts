/**
 * Every way this package can refuse or fail, in one table.
 *
 * `fault` says who has to change something: the caller's input, the guest program, or us. The text
 * of a row is all a person sees; the detail is plain data, so that an error crosses a thread by
 * `toObject` and `fromObject` without losing its code.
 */

interface ErrorDetail {
  'memory.bad_size': { ramBytes: number; minBytes: number; maxBytes: number; stepBytes: number };
  'memory.bad_harts': { harts: number; max: number };
  'memory.no_room': { ramBytes: number; reason: string };
  'memory.not_a_guest': { reason: string };
  'memory.page_out_of_range': { page: number; pages: number };
  'hart.no_acknowledge': { hart: number; waitedFor: string; state: number; limitMs: number };
  'hart.bad_transition': { hart: number; from: number; to: number };
  'page.bad_transition': { page: number; from: number; to: number };
  'workload.bad_spec': { field: string; value: string; expected: string };
  'workload.bad_state': { field: string; reason: string };
  'witness.rollback': { guest: string; hart: number; heard: string; found: string };
  'elf.truncated': { what: string; needBytes: number; haveBytes: number };
  'elf.wrong_class': { reason: string };
  'elf.outside_ram': { address: string; bytes: number; ramBytes: number };
  'state.bad_field': { field: string; reason: string };
  'state.bad_version': { version: number; supported: string };
  'machine.bad_option': { option: string; reason: string };
  'gdb.no_port': { port: number; reason: string };
  'checkpoint.not_written': { path: string; reason: string };
  'checkpoint.not_read': { path: string; reason: string };
  'checkpoint.damaged': { path: string; reason: string };
  'kernel.bad_image': { reason: string };
  'kernel.truncated': { needBytes: number; haveBytes: number };
  'kernel.no_room': { needBytes: number; ramBytes: number };
}

export type MachineErrorCode = keyof ErrorDetail;

interface ErrorRow<C extends MachineErrorCode> {
  readonly fault: 'caller' | 'guest' | 'us';
  readonly text: (detail: ErrorDetail[C]) => string;
}

export const MACHINE_ERRORS: { readonly [C in MachineErrorCode]: ErrorRow<C> } = {
  'memory.bad_size': {
    fault: 'caller',
    text: (d) =>
      `guest memory must be ${d.minBytes} to ${d.maxBytes} bytes in steps of ${d.stepBytes}, not ${d.ramBytes}`,
  },
  'memory.bad_harts': {
    fault: 'caller',
    text: (d) => `a guest has 1 to ${d.max} harts, not ${d.harts}`,
  },
  'memory.no_room': {
    fault: 'caller',
    text: (d) => `no room for ${d.ramBytes} bytes of guest memory: ${d.reason}`,
  },
  'memory.not_a_guest': {
    fault: 'us',
    text: (d) => `this memory holds no guest of this version: ${d.reason}`,
  },
  'memory.page_out_of_range': {
    fault: 'caller',
    text: (d) => `page ${d.page} is outside the guest's ${d.pages} pages`,
  },
  'hart.no_acknowledge': {
    fault: 'us',
    text: (d) =>
      `hart ${d.hart} (state ${d.state}) gave no answer to ${d.waitedFor} in ${d.limitMs} ms`,
  },
  'hart.bad_transition': {
    fault: 'us',
    text: (d) => `hart ${d.hart} must not go from state ${d.from} to ${d.to}`,
  },
  'page.bad_transition': {
    fault: 'us',
    text: (d) => `page ${d.page} must not go from state ${d.from} to ${d.to}`,
  },
  'workload.bad_spec': {
    fault: 'caller',
    text: (d) => `workload ${d.field} must be ${d.expected}, not ${d.value}`,
  },
  'workload.bad_state': {
    fault: 'caller',
    text: (d) => `workload state: ${d.field} ${d.reason}`,
  },
  'witness.rollback': {
    fault: 'us',
    text: (d) =>
      `guest ${d.guest} went back in time: hart ${d.hart} had done ${d.heard} writes, now claims ${d.found}`,
  },
  'elf.truncated': {
    fault: 'caller',
    text: (d) => `ELF file is cut short: ${d.what} needs ${d.needBytes} bytes, has ${d.haveBytes}`,
  },
  'elf.wrong_class': { fault: 'caller', text: (d) => `not a RISC-V 64 program: ${d.reason}` },
  'elf.outside_ram': {
    fault: 'caller',
    text: (d) =>
      `ELF segment of ${d.bytes} bytes at ${d.address} lies outside the guest's ${d.ramBytes} bytes of RAM`,
  },
  'state.bad_field': {
    fault: 'caller',
    text: (d) => `machine state field ${d.field}: ${d.reason}`,
  },
  'state.bad_version': {
    fault: 'caller',
    text: (d) => `machine state version ${d.version} is not supported (${d.supported})`,
  },
  'machine.bad_option': { fault: 'caller', text: (d) => `${d.option}: ${d.reason}` },
  'gdb.no_port': {
    fault: 'caller',
    text: (d) => `cannot wait for a debugger on port ${d.port}: ${d.reason}`,
  },
  'checkpoint.not_written': {
    fault: 'caller',
    text: (d) => `checkpoint ${d.path} was not written: ${d.reason}`,
  },
  'checkpoint.not_read': {
    fault: 'caller',
    text: (d) => `checkpoint ${d.path} cannot be read: ${d.reason}`,
  },
  'checkpoint.damaged': {
    fault: 'caller',
    text: (d) => `checkpoint ${d.path} is of no use: ${d.reason}`,
  },
  'kernel.bad_image': { fault: 'caller', text: (d) => `not a RISC-V kernel: ${d.reason}` },
  'kernel.truncated': {
    fault: 'caller',
    text: (d) => `kernel is cut short: it needs ${d.needBytes} bytes, has ${d.haveBytes}`,
  },
  'kernel.no_room': {
    fault: 'caller',
    text: (d) =>
      `kernel, initrd and device tree need ${d.needBytes} bytes of RAM, the guest has ${d.ramBytes}`,
  },
};

export interface MachineErrorObject {
  readonly code: MachineErrorCode;
  readonly detail: ErrorDetail[MachineErrorCode];
}

export class MachineError<C extends MachineErrorCode = MachineErrorCode> extends Error {
  readonly code: C;
  readonly detail: ErrorDetail[C];

  constructor(code: C, detail: ErrorDetail[C], options?: ErrorOptions) {
    super(MACHINE_ERRORS[code].text(detail), options);
    this.name = 'MachineError';
    this.code = code;
    this.detail = detail;
  }

  /** Plain data for postMessage; `fromObject` makes the same error of it on the other thread. */
  toObject(): MachineErrorObject {
    return { code: this.code, detail: this.detail };
  }

  static fromObject(object: MachineErrorObject): MachineError {
    return new MachineError(object.code, object.detail);
  }
}
