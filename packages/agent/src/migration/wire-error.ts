/** Errors as the control messages carry them: code, and detail as JSON text. */
import { GodwitError } from '@godwit/protocol';

export interface WireError {
  code: string;
  detail: string;
}

export function wireError(error: GodwitError): WireError {
  return { code: error.code, detail: JSON.stringify(error.detail) };
}

/** @returns a GodwitError whatever was sent: unknown codes and bad JSON become `internal` */
export function fromWireError({ code, detail }: WireError): GodwitError {
  try {
    return GodwitError.fromData({ code, detail: JSON.parse(detail) });
  } catch {
    return new GodwitError('internal', { why: `${code}: ${detail}` });
  }
}
