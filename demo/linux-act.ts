/**
 * The demo's second act: a Linux that nobody prepared, moved while its shell is in use.
 *
 *   main.ts -> stage -> [linux act] -> LinuxGuest: three loops in its shell
 *
 * Each loop counts aloud, so whatever is lost on the way shows as a number that is missing. The outside
 * observer measures how long nothing was said.
 */
import { type ApiClient, GapMeter, LinuxGuest, type LinuxImage } from '@godwit/cli';
import { LINUX, LINUX_BYTES } from './plan.ts';

export interface LinuxVerdict {
  readonly bootMs: number;
  readonly memoryMiB: number;
  /** How far each loop came: checksums, lines, wake-ups. */
  readonly counts: Readonly<Record<string, number>>;
  readonly longestSleepMs: number;
  readonly errors: readonly string[];
}

export interface LinuxActOptions {
  readonly api: ApiClient;
  readonly image: LinuxImage;
  readonly host: string;
  readonly signal: AbortSignal;
}

export class LinuxAct {
  readonly gap: GapMeter;
  readonly bootMs: number;
  readonly #guest: LinuxGuest;

  private constructor(guest: LinuxGuest, gap: GapMeter, bootMs: number) {
    this.#guest = guest;
    this.gap = gap;
    this.bootMs = bootMs;
  }

  /** Boots, and starts the loops. */
  static async open(options: LinuxActOptions): Promise<LinuxAct> {
    const gap = new GapMeter();
    const what = { name: LINUX, memoryBytes: LINUX_BYTES, gap };
    const { guest, bootMs } = await LinuxGuest.boot({ ...options, ...what });
    try {
      await guest.load();
    } catch (error) {
      await guest.close();
      throw error;
    }
    return new LinuxAct(guest, gap, bootMs);
  }

  /** After each move: the sleeper wakes where it is now, and nothing is wrong so far. */
  async check(): Promise<void> {
    await this.#guest.awake();
    const [error] = this.#guest.errors;
    if (error !== undefined) throw new Error(`guest ${LINUX}: ${error}`);
  }

  /** Ends the loops; the kernel says whether it noticed anything. */
  async verdict(): Promise<LinuxVerdict> {
    await this.#guest.verdict();
    const { counts, longestSleepMs, errors } = this.#guest;
    const memoryMiB = LINUX_BYTES / 1024 ** 2;
    return { bootMs: this.bootMs, memoryMiB, counts, longestSleepMs, errors };
  }

  close(): Promise<void> {
    return this.#guest.close();
  }
}
