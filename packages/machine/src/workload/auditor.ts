/**
 * Proves that a workload guest's memory is exactly what its writes made it.
 *
 * What every page must hold follows from spec and counts alone (pattern.ts, content.ts), so an audit is
 * one pass over the pages. Only for a guest that is stopped or a frozen copy, complete (no page absent).
 * Ranges are independent: threads share an audit and `mergeAudits` adds it up.
 */
import type { GuestMemory } from '../guest-memory.ts';
import { fillBase, PAGE_WORDS, ramWords, readStamp, STAMP_TAIL, stampPage } from './content.ts';
import { WritePattern } from './pattern.ts';
import type { WorkloadSpec } from './spec.ts';

/** Wrong pages an audit lists; it counts them all. */
export const WRONG_LISTED_MAX = 10;

export interface WrongPage {
  readonly page: number;
  /** Sequence the page must show at both ends; 0 = never written. */
  readonly expected: number;
  /** Sequence it shows; 'torn' = different ones at its ends, 'content' = no or the right stamp, other bytes wrong. */
  readonly found: number | 'torn' | 'content';
}

export interface AuditResult {
  readonly pagesChecked: number;
  readonly wrongCount: number;
  /** The first few. */
  readonly wrong: readonly WrongPage[];
}

/**
 * Checks pages [fromPage, toPage) of a workload guest that has done `counts` writes (one number a hart).
 */
export function audit(
  guest: GuestMemory,
  spec: WorkloadSpec,
  counts: readonly number[],
  fromPage = 0,
  toPage = guest.pages,
): AuditResult {
  const patterns = counts.map(
    (_, hart) => new WritePattern(spec, guest.pages, counts.length, hart),
  );
  const words = ramWords(guest);
  const expectedPage = new Int32Array(PAGE_WORDS);
  const wrong: WrongPage[] = [];
  let wrongCount = 0;
  for (let page = fromPage; page < toPage; page++) {
    const expected = lastSequence(patterns, page, counts);
    fillBase(expectedPage, 0, spec.content, spec.seed, page);
    if (expected > 0) stampPage(expectedPage, 0, page, expected);
    if (equalWords(words, page * PAGE_WORDS, expectedPage)) continue;
    wrongCount++;
    if (wrong.length >= WRONG_LISTED_MAX) continue;
    wrong.push({ page, expected, found: whatIsThere(words, page, expected) });
  }
  return { pagesChecked: toPage - fromPage, wrongCount, wrong };
}

/** Adds up audits of ranges, given in rising order. */
export function mergeAudits(parts: readonly AuditResult[]): AuditResult {
  return {
    pagesChecked: parts.reduce((sum, part) => sum + part.pagesChecked, 0),
    wrongCount: parts.reduce((sum, part) => sum + part.wrongCount, 0),
    wrong: parts.flatMap((part) => part.wrong).slice(0, WRONG_LISTED_MAX),
  };
}

/** Exactly one hart owns a page; the others answer "never". */
function lastSequence(
  patterns: readonly WritePattern[],
  page: number,
  counts: readonly number[],
): number {
  let sequence = 0;
  for (let hart = 0; hart < patterns.length; hart++) {
    sequence = Math.max(sequence, patterns[hart]!.lastWrite(page, counts[hart]!) + 1);
  }
  return sequence;
}

function equalWords(words: Int32Array, at: number, expected: Int32Array): boolean {
  for (let i = 0; i < PAGE_WORDS; i++) if (words[at + i] !== expected[i]) return false;
  return true;
}

function whatIsThere(words: Int32Array, page: number, expected: number): WrongPage['found'] {
  const head = readStamp(words, page * PAGE_WORDS, page);
  const tail = readStamp(words, page * PAGE_WORDS + STAMP_TAIL, page);
  if (head !== tail) return 'torn';
  return head < 0 || head === expected ? 'content' : head;
}
