/** A directory's own entries on the disk: files that were made or renamed in it keep their names. */
import { closeSync, fsyncSync, openSync } from 'node:fs';

/** So that a new name survives a power cut as well; the file's content is its own matter. */
export function syncDirectory(path: string): void {
  const directory = openSync(path, 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
