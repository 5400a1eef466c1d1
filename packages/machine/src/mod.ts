/**
 * The public names of the machine package: guest memory and its contract, the workload guest, the
 * RISC-V machine. Other packages import from here only.
 */
export * from './checkpoint.ts';
export { type ConsoleOutput, ConsoleRing } from './console-ring.ts';
export * from './dirty-log.ts';
export { type LoadedElf, loadElf } from './elf.ts';
export {
  MACHINE_ERRORS,
  MachineError,
  type MachineErrorCode,
  type MachineErrorObject,
} from './errors.ts';
export {
  GUEST_IMAGES,
  type GuestImage,
  guestImagePath,
  isGuestImage,
  SPEED_PROGRAMS,
  type SpeedProgram,
} from './guest-images.ts';
export { HartGate } from './hart-gate.ts';
export * from './heat.ts';
export {
  BOOTARGS_BYTES_MAX,
  type LinuxBoot,
  type LoadedLinux,
  loadLinux,
} from './linux-loader.ts';
export { LiveInput } from './live.ts';
export * from './machine.ts';
export * from './machine-state.ts';
export * from './memory.ts';
export type { Count, Profile } from './profile.ts';
export * from './run.ts';
export * from './run-control.ts';
export * from './state-codec.ts';
export { syncDirectory } from './sync-directory.ts';
export { EXIT_GAVE_UP, type RunEnd } from './turns.ts';
export { ringBell, waitForWord } from './word-wait.ts';
export * from './workload/auditor.ts';
export { fillBase, PAGE_WORDS } from './workload/content.ts';
export { WritePattern } from './workload/pattern.ts';
export * from './workload/spec.ts';
export * from './workload/state.ts';
export { Witness } from './workload/witness.ts';
export { fillWorkload, runWorkload, writesDone, wrongReads } from './workload/workload.ts';
