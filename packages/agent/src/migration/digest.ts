/**
 * The digest two ends compare before RUN: SHA-256 over the machine state and, with --verify, over
 * the hash of every page that is not missing.
 */
import { createHash, hash } from 'node:crypto';
import { testBit } from '@godwit/machine';
import type { PageHashes } from '../channel/page-hashes.ts';

/** So many are copied at a time: OpenSSL takes no memory that other threads might write. */
const CHUNK_PAGES = 8192;

/**
 * @param hashes in page order; undefined without --verify
 * @param missing bitmap of pages that do not count
 * @returns 64 hex digits
 */
export function handoverDigest(
  state: Uint8Array,
  hashes: PageHashes | undefined,
  missing: Uint32Array | undefined,
): string {
  if (hashes === undefined) return hash('sha256', state, 'hex');
  const digest = createHash('sha256').update(state);
  const chunk = new BigUint64Array(Math.min(CHUNK_PAGES, hashes.length));
  for (let first = 0; first < hashes.length; first += CHUNK_PAGES) {
    const part = hashes.subarray(first, first + CHUNK_PAGES);
    chunk.set(part);
    if (missing !== undefined) {
      for (let i = 0; i < part.length; i++) if (testBit(missing, first + i)) chunk[i] = 0n;
    }
    digest.update(chunk.subarray(0, part.length));
  }
  return digest.digest('hex');
}
