/**
 * Errors as control messages carry them (code, and detail as JSON text), kept within the limits of the wire.
 *
 * What an error says comes from anywhere: a peer's own words, the names of all guests, a path. None of it
 * may be so long that the error cannot be told, so it is cut here, and only here.
 */
import { GodwitError } from './errors.ts';
import { TEXT_CHARS_MAX } from './limits.ts';

export interface WireError {
  readonly code: string;
  readonly detail: string;
}

/** Names shown of a longer list. */
const NAMES_MAX = 8;
/** Each text of a detail is cut to the first of these with which the whole fits. */
const DETAIL_CHARS = [TEXT_CHARS_MAX, TEXT_CHARS_MAX / 4, TEXT_CHARS_MAX / 32] as const;

/** The text, or as much of it as fits, with a mark that something is missing. */
export function clip(text: string, charsMax: number): string {
  return text.length <= charsMax ? text : `${text.slice(0, charsMax - 1).toWellFormed()}…`;
}

/** For an error that lists what there is: a few names, and how many more. */
export function fewNames(names: Iterable<string>): string {
  const all = [...names].sort();
  const more = all.length - NAMES_MAX;
  return more > 0 ? `${all.slice(0, NAMES_MAX).join(', ')} and ${more} more` : all.join(', ');
}

export function wireError(error: GodwitError): WireError {
  for (const charsMax of DETAIL_CHARS) {
    const cut = (_key: string, value: unknown) =>
      typeof value === 'string' ? clip(value, charsMax) : value;
    const detail = JSON.stringify(error.detail, cut);
    if (detail.length <= TEXT_CHARS_MAX) return { code: error.code, detail };
  }
  // A detail that a peer made up: no error of ours has this much beside its texts.
  return wireError(new GodwitError('internal', { why: clip(error.message, TEXT_CHARS_MAX / 32) }));
}

/** @returns a GodwitError whatever was sent: unknown codes and bad JSON become `internal` */
export function fromWireError({ code, detail }: WireError): GodwitError {
  try {
    return GodwitError.fromData({ code, detail: JSON.parse(detail) });
  } catch {
    return new GodwitError('internal', { why: `${code}: ${detail}` });
  }
}
