/**
 * Thread entry of the faults channel at the source; one migration at a time, then the next.
 */
import { GuestMemory } from '@godwit/machine/memory';
import { Counters } from '../channel/counters.ts';
import { RegionTable } from '../channel/regions.ts';
import { postEvent, serveThread } from '../thread.ts';
import { FaultsServer } from './faults-server.ts';
import { PushTable } from './push-table.ts';

export interface FaultsServerSetup {
  readonly memory: WebAssembly.Memory;
  readonly regions: SharedArrayBuffer;
  readonly pushes: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  readonly row: number;
  readonly migration: string;
  readonly capability: string;
  readonly host: string;
  readonly ports: { readonly from: number; readonly to: number } | null;
}

let server: FaultsServer | null = null;

const commands = {
  open(setup: FaultsServerSetup): Promise<number> {
    server = new FaultsServer({
      ...setup,
      kind: 'faults',
      channel: 0,
      guest: GuestMemory.adopt(setup.memory),
      regions: new RegionTable(setup.regions),
      pushes: new PushTable(setup.pushes),
      counters: new Counters(setup.counters),
      onAttached: () => postEvent('attached'),
      onGivenBack: () => postEvent('givenBack'),
      onFailed: (error) => postEvent('failed', error.toData()),
    });
    return server.listen();
  },
  serve: () => server?.serve(),
  async close(): Promise<void> {
    await server?.close();
    server = null;
  },
};

export type FaultsServerCommands = typeof commands;

serveThread(commands);
