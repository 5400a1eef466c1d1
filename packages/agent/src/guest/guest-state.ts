/**
 * A guest's state besides RAM as bytes, whichever kind it is: one envelope, the machine's fields or
 * the workload's.
 *
 * The bytes come from a peer when they are decoded; each field is checked, and what is wrong is a
 * GodwitError that leaves the guest as it was. Main thread, harts stopped.
 */
import {
  captureState,
  captureWorkload,
  decodeEnvelope,
  decodeState,
  encodeEnvelope,
  encodeState,
  FieldReader,
  type GuestMemory,
  MACHINE_STATE_VERSION,
  MachineError,
  restoreState,
  restoreWorkload,
  type WorkloadState,
} from '@godwit/machine';
import { GodwitError, type GuestSpec } from '@godwit/protocol';
import { stateError } from './machine-errors.ts';

const WORKLOAD_KIND = 'workload';
const WORKLOAD_VERSION = 1;
/** Versions of the fields: what this host writes, and the oldest it reads. */
const VERSIONS = {
  machine: { newest: MACHINE_STATE_VERSION, oldest: MACHINE_STATE_VERSION - 1 },
  workload: { newest: WORKLOAD_VERSION, oldest: WORKLOAD_VERSION },
} as const;

/** The version a source offers. */
export function stateVersion(kind: GuestSpec['kind']): number {
  return VERSIONS[kind].newest;
}

/** Looked at before a page is sent. @throws GodwitError `state.version` */
export function checkStateVersion(kind: GuestSpec['kind'], version: number): void {
  const { newest, oldest } = VERSIONS[kind];
  if (version >= oldest && version <= newest) return;
  throw new GodwitError('state.version', { what: `${kind} state`, version });
}

export function captureGuest(kind: GuestSpec['kind'], memory: GuestMemory): Uint8Array {
  if (kind === 'machine') return encodeState(captureState(memory));
  const fields = { ...captureWorkload(memory) };
  return encodeEnvelope({ kind: WORKLOAD_KIND, version: WORKLOAD_VERSION, fields });
}

/** @throws GodwitError `state.version`, `state.corrupt` */
export function restoreGuest(
  kind: GuestSpec['kind'],
  memory: GuestMemory,
  state: Uint8Array,
): void {
  try {
    if (kind === 'machine') restoreState(memory, decodeState(state));
    else restoreWorkload(memory, decodeWorkload(state, memory.harts));
  } catch (error) {
    throw stateError(error);
  }
}

function decodeWorkload(state: Uint8Array, harts: number): WorkloadState {
  const { kind, version, fields } = decodeEnvelope(state);
  if (kind !== WORKLOAD_KIND) {
    throw new MachineError('state.bad_field', { field: 'kind', reason: `is ${kind}` });
  }
  if (version !== WORKLOAD_VERSION) {
    throw new MachineError('state.bad_version', { version, supported: `${WORKLOAD_VERSION}` });
  }
  const reader = new FieldReader(fields, WORKLOAD_KIND, version);
  // restoreWorkload checks pattern, content and every element of the lists.
  const decoded = {
    pattern: reader.text('pattern') as WorkloadState['pattern'],
    content: reader.text('content') as WorkloadState['content'],
    seed: reader.number('seed'),
    hotPages: reader.number('hotPages'),
    pagesPerSecond: reader.number('pagesPerSecond'),
    pages: reader.number('pages'),
    writes: reader.list('writes', harts) as number[],
    wrongReads: reader.list('wrongReads', harts) as number[],
    wrongPage: reader.list('wrongPage', harts) as number[],
  };
  reader.end();
  return decoded;
}
