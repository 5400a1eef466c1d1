/**
 * What a machine guest starts from, and putting it into RAM: at creation, and again at each reboot.
 *
 *   image store, request -> BootSource -> [boot] -> loader of the machine package -> RAM, power-on state
 *
 * A source is asked each time, so that the bytes need not be kept while the guest runs, and a guest that
 * came from another host can be given one later. No hart of the guest runs meanwhile. A kernel goes through
 * a memory task's thread (tens of megabytes to copy), a small program is loaded where it is.
 */
import {
  type GuestMemory,
  type LinuxBoot,
  loadElf,
  loadLinux,
  resetMachine,
} from '@godwit/machine';

export type GuestBoot =
  | { readonly kind: 'elf'; readonly elf: Uint8Array }
  | ({ readonly kind: 'linux' } & Omit<LinuxBoot, 'clock' | 'goesOn'>);

export type BootSource = () => GuestBoot | Promise<GuestBoot>;

export interface BootOptions {
  readonly clock: 'host' | 'instructions' | undefined;
  /** It has run before: the console's streams go on where they are. */
  readonly goesOn: boolean;
}

/**
 * Fills RAM, which is zero, and puts harts and devices into their state after power-on.
 *
 * @throws MachineError elf.*, kernel.*, machine.bad_option
 */
export function bootGuest(memory: GuestMemory, boot: GuestBoot, options: BootOptions): void {
  const { goesOn } = options;
  const clock = options.clock ?? 'host';
  if (boot.kind === 'linux') loadLinux(memory, { ...boot, clock, goesOn });
  else resetMachine(memory, { ...loadElf(boot.elf, memory), clock, goesOn });
}
