/**
 * Thread entry of the faults channel at the target; one migration at a time, then the next.
 */
import { GuestMemory } from '@godwit/machine/memory';
import { RegionTable } from '../channel/regions.ts';
import { postEvent, serveThread } from '../thread.ts';
import { FaultHistogram } from './fault-histogram.ts';
import { FaultsClient } from './faults-client.ts';
import { LandingBoard } from './landing-board.ts';
import { RoundGate } from './round-gate.ts';

export interface FaultsClientSetup {
  readonly memory: WebAssembly.Memory;
  readonly regions: SharedArrayBuffer;
  readonly board: SharedArrayBuffer;
  readonly gate: SharedArrayBuffer;
  readonly histogram: SharedArrayBuffer;
  readonly migration: string;
  readonly capability: string;
  readonly host: string;
  readonly port: number;
  readonly readKey: number;
  readonly neighbours: number;
}

let client: FaultsClient | null = null;

const commands = {
  open(setup: FaultsClientSetup): Promise<void> {
    client = new FaultsClient({
      ...setup,
      channel: 0,
      guest: GuestMemory.adopt(setup.memory),
      regions: new RegionTable(setup.regions),
      board: new LandingBoard(setup.board),
      gate: new RoundGate(setup.gate),
      histogram: new FaultHistogram(setup.histogram),
      onFailed: (error) => postEvent('failed', error.toData()),
      onAllPresent: () => postEvent('allPresent'),
      onWrongPage: (page) => client?.fetch(page),
    });
    return client.connect();
  },
  start: (landKey: number) => client!.start(landKey),
  fetch: (page: number) => client?.fetch(page),
  fetchAll: () => client?.fetchAll(),
  async close(): Promise<void> {
    await client?.close();
    client = null;
  },
};

export type FaultsClientCommands = typeof commands;

serveThread(commands);
