/**
 * Errors of the machine package in the words of the wire: it does not know ours, and a person or a
 * peer must get one of the table's codes.
 */
import { MACHINE_ERRORS, MachineError, type MachineErrorCode } from '@godwit/machine';
import { GodwitError } from '@godwit/protocol';

/** Machine state that does not fit: the peer's fault, and not the user's. */
const STATE_CODES: readonly MachineErrorCode[] = [
  'workload.bad_state',
  'state.bad_field',
  'state.bad_version',
];

/** Whatever was thrown, as one of ours; what was given to the machine wrongly is `guest.bad_spec`. */
export function asGodwitError(thrown: unknown): GodwitError {
  if (!(thrown instanceof MachineError)) return GodwitError.from(thrown);
  const cause = { cause: thrown };
  if (STATE_CODES.includes(thrown.code)) return stateError(thrown);
  const code: MachineErrorCode = thrown.code;
  if (code === 'checkpoint.not_written') {
    return new GodwitError('checkpoint.not_written', { why: thrown.message }, cause);
  }
  if (code === 'checkpoint.not_read' || code === 'checkpoint.damaged') {
    return new GodwitError('checkpoint.damaged', { why: thrown.message }, cause);
  }
  if (MACHINE_ERRORS[code].fault === 'caller') {
    return new GodwitError('guest.bad_spec', { why: thrown.message }, cause);
  }
  return new GodwitError('internal', { why: thrown.message }, cause);
}

/** Machine state from a peer that was refused. */
export function stateError(thrown: unknown): GodwitError {
  const why = thrown instanceof Error ? thrown.message : String(thrown);
  const what = 'machine state';
  if (thrown instanceof MachineError && thrown.code === 'state.bad_version') {
    const { version } = thrown.detail as { version: number };
    return new GodwitError('state.version', { what, version }, { cause: thrown });
  }
  return new GodwitError('state.corrupt', { what, why }, { cause: thrown });
}
