/**
 * The digest two ends compare before RUN: SHA-256 over the machine state and, with --verify, over
 * the hash of every page that is not missing.
 */
import { createHash, hash } from 'node:crypto';
import { testBit } from '@godwit/machine';

/**
 * @param hashes 8 bytes a page, in page order; undefined without --verify
 * @param missing bitmap of pages that do not count
 * @returns 64 hex digits
 */
export function handoverDigest(
  state: Uint8Array,
  hashes: SharedArrayBuffer | undefined,
  missing: Uint32Array | undefined,
): string {
  if (hashes === undefined) return hash('sha256', state, 'hex');
  const counted = new BigUint64Array(hashes).slice();
  if (missing !== undefined) {
    for (let page = 0; page < counted.length; page++)
      if (testBit(missing, page)) counted[page] = 0n;
  }
  return createHash('sha256').update(state).update(counted).digest('hex');
}
