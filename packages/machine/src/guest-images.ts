/**
 * Where the built guest programs lie (guests/README.md says what each does).
 */
import { fileURLToPath } from 'node:url';

export const GUEST_IMAGES = ['hello', 'kv', 'churn'] as const;
export type GuestImage = (typeof GUEST_IMAGES)[number];

export function isGuestImage(name: string): name is GuestImage {
  return (GUEST_IMAGES as readonly string[]).includes(name);
}

/** Absolute path of the program's ELF file. */
export function guestImagePath(name: GuestImage): string {
  return fileURLToPath(new URL(`../guests/bin/${name}.elf`, import.meta.url));
}
