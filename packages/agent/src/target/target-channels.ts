/**
 * All page channels of one migration at the target, as the runner sees them.
 *
 *   runner -> [target channels] -> channel threads -> sockets, guest RAM
 *
 * Main thread only; it never touches page bytes.
 */
import type { GuestMemory } from '@godwit/machine';
import { GodwitError } from '@godwit/protocol';
import { Counters } from '../channel/counters.ts';
import type { RegionTable } from '../channel/regions.ts';
import { Thread } from '../channel/thread.ts';
import type { LandingCommands } from './landing.worker.ts';
import { LandingBoard } from './landing-board.ts';
import { RoundGate } from './round-gate.ts';

const LANDING = new URL('./landing.worker.ts', import.meta.url);

export interface TargetChannelsOptions {
  readonly memory: GuestMemory;
  readonly regions: RegionTable;
  readonly migration: string;
  readonly capability: string;
  /** Address of the source's page ports. */
  readonly host: string;
  readonly pagePorts: readonly number[];
  /** A channel cannot go on: a broken rule, or a source that does not answer. */
  readonly onFailed?: (error: GodwitError) => void;
}

export class TargetChannels {
  readonly #options: TargetChannelsOptions;
  readonly #board: LandingBoard;
  readonly #gate: RoundGate;
  readonly #counters: Counters;
  readonly #threads: Thread<LandingCommands>[] = [];

  /**
   * Dials every channel; resolves when ATTACH has been sent on all of them.
   *
   * @throws GodwitError `channel.refused`, `channel.early_data`; nothing stays open then
   */
  static async open(options: TargetChannelsOptions): Promise<TargetChannels> {
    const channels = new TargetChannels(options);
    try {
      await channels.#start();
    } catch (thrown) {
      await channels.close();
      throw GodwitError.from(thrown);
    }
    return channels;
  }

  private constructor(options: TargetChannelsOptions) {
    this.#options = options;
    this.#board = LandingBoard.make(options.memory.pages);
    this.#gate = RoundGate.make(options.pagePorts.length);
    this.#counters = Counters.make(options.pagePorts.length);
  }

  /** What has landed, for the manifest check. */
  landed(): { pages: number; zeroPages: number; copiedBytes: number; rounds: number[] } {
    const { pages, zeroPages, copiedBytes } = this.#counters.total();
    return { pages, zeroPages, copiedBytes, rounds: this.#board.rounds() };
  }

  /** Pages that no round has brought: 0 once round 0 is complete. */
  uncovered(): number {
    return this.#board.uncovered(this.#options.memory.pages);
  }

  /**
   * Revokes a key. When it resolves no byte under that key can land any more; a channel in the middle
   * of a frame under it fails with `channel.protection`.
   */
  async revoke(key: number): Promise<void> {
    this.#options.regions.revoke(key);
    await Promise.all(this.#threads.map((thread) => thread.call('cutOff', key)));
  }

  /** Ends every channel; no socket is open when it resolves. */
  async close(): Promise<void> {
    const threads = this.#threads.splice(0);
    await Promise.allSettled(threads.map((thread) => thread.call('close')));
    for (const thread of threads) thread.release();
  }

  async #start(): Promise<void> {
    const { memory, regions, migration, capability, host, pagePorts } = this.#options;
    const opening = pagePorts.map((port, channel) => {
      const thread = new Thread<LandingCommands>(LANDING);
      this.#threads.push(thread);
      thread.onEvent = (event, argument) => this.#hear(event, argument);
      thread.onDeath = (error) => this.#options.onFailed?.(error);
      return thread.call('open', {
        memory: memory.memory,
        regions: regions.sab,
        board: this.#board.sab,
        gate: this.#gate.sab,
        counters: this.#counters.sab,
        migration,
        capability,
        channel,
        host,
        port,
      });
    });
    await Promise.all(opening);
  }

  #hear(event: string, argument: unknown): void {
    if (event === 'failed') this.#options.onFailed?.(GodwitError.fromData(argument));
  }
}
