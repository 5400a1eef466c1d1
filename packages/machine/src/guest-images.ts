/**
 * Where the built guest programs lie (guests/README.md says what each does).
 */
import { fileURLToPath } from 'node:url';

export const GUEST_IMAGES = ['hello', 'kv', 'churn'] as const;
export type GuestImage = (typeof GUEST_IMAGES)[number];

export function isGuestImage(name: string): name is GuestImage {
  return (GUEST_IMAGES as readonly string[]).includes(name);
}

/** Programs that measure a machine's speed and end. */
export const SPEED_PROGRAMS = ['sieve', 'sha256', 'mix'] as const;
export type SpeedProgram = (typeof SPEED_PROGRAMS)[number];

/** Absolute path of the program's ELF file. */
export function guestImagePath(name: GuestImage | SpeedProgram): string {
  return fileURLToPath(new URL(`../guests/bin/${name}.elf`, import.meta.url));
}
