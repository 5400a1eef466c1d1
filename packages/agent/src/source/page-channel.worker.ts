/**
 * Thread entry of a page channel at the source; one migration at a time, then the next.
 */
import { GuestMemory } from '@godwit/machine';
import { Counters } from '../channel/counters.ts';
import { postEvent, serveThread } from '../channel/thread.ts';
import { PageChannel } from './page-channel.ts';
import { StripeTable } from './stripe-table.ts';

export interface PageChannelSetup {
  readonly memory: WebAssembly.Memory;
  readonly stripes: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  readonly migration: string;
  readonly capability: string;
  readonly channel: number;
  readonly host: string;
  readonly ports: { readonly from: number; readonly to: number } | null;
  readonly bandwidthBytes: number;
}

let channel: PageChannel | null = null;

const commands = {
  async open(setup: PageChannelSetup): Promise<number> {
    channel = new PageChannel({
      ...setup,
      kind: 'pages',
      guest: GuestMemory.adopt(setup.memory),
      stripes: new StripeTable(setup.stripes),
      counters: new Counters(setup.counters),
      onAttached: () => postEvent('attached'),
      onFailed: (error) => postEvent('failed', error.toData()),
    });
    channel.setBandwidth(setup.bandwidthBytes);
    return channel.listen();
  },
  sendRound: (round: number, key: number) => channel!.sendRound(round, key),
  setBandwidth: (bytesPerSecond: number) => channel!.setBandwidth(bytesPerSecond),
  async close(): Promise<void> {
    await channel?.close();
    channel = null;
  },
};

export type PageChannelCommands = typeof commands;

serveThread(commands);
