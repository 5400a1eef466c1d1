/**
 * Thread entry of a page channel at the target; one migration at a time, then the next.
 */
import { GuestMemory } from '@godwit/machine/memory';
import { reclaimProcessor } from '../channel/background.ts';
import { Counters } from '../channel/counters.ts';
import { type HashWork, hashShare } from '../channel/page-hashes.ts';
import { RegionTable } from '../channel/regions.ts';
import { postEvent, serveThread } from '../thread.ts';
import { LandingBoard } from './landing-board.ts';
import { LandingChannel } from './landing-channel.ts';
import { RoundGate } from './round-gate.ts';

export interface LandingSetup {
  readonly memory: WebAssembly.Memory;
  readonly regions: SharedArrayBuffer;
  readonly board: SharedArrayBuffer;
  readonly gate: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  readonly migration: string;
  readonly capability: string;
  readonly channel: number;
  readonly host: string;
  readonly port: number;
}

let channel: LandingChannel | null = null;
let guest: GuestMemory | null = null;

const commands = {
  open(setup: LandingSetup): Promise<void> {
    guest = GuestMemory.adopt(setup.memory);
    channel = new LandingChannel({
      ...setup,
      guest,
      regions: new RegionTable(setup.regions),
      board: new LandingBoard(setup.board),
      gate: new RoundGate(setup.gate),
      counters: new Counters(setup.counters),
      onFailed: (error) => postEvent('failed', error.toData()),
      onAllPresent: () => postEvent('allPresent'),
      onRoundEnded: () => postEvent('roundEnded'),
      onWrongPage: (page) => postEvent('wrongPage', page),
    });
    return channel.connect();
  },
  hashPages: (work: HashWork) => hashShare(guest!, work),
  cutOff: (key: number) => channel?.cutOff(key),
  async close(): Promise<void> {
    await channel?.close();
    channel = null;
    guest = null;
    reclaimProcessor();
  },
};

export type LandingCommands = typeof commands;

serveThread(commands);
