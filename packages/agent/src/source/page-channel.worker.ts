/**
 * Thread entry of a page channel at the source; one migration at a time, then the next.
 */
import { GuestMemory } from '@godwit/machine/memory';
import { reclaimProcessor, yieldProcessor } from '../channel/background.ts';
import { Counters } from '../channel/counters.ts';
import { type HashWork, hashShare } from '../channel/page-hashes.ts';
import { postEvent, serveThread } from '../thread.ts';
import { PageChannel } from './page-channel.ts';
import { PushTable } from './push-table.ts';
import { StripeTable } from './stripe-table.ts';

export interface PageChannelSetup {
  readonly memory: WebAssembly.Memory;
  readonly stripes: SharedArrayBuffer;
  readonly pushes: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  readonly migration: string;
  readonly capability: string;
  readonly channel: number;
  readonly alone: boolean;
  readonly host: string;
  readonly ports: { readonly from: number; readonly to: number } | null;
  readonly bandwidthBytes: number;
}

let channel: PageChannel | null = null;
let guest: GuestMemory | null = null;

const commands = {
  async open(setup: PageChannelSetup): Promise<number> {
    guest = GuestMemory.adopt(setup.memory);
    channel = new PageChannel({
      ...setup,
      kind: 'pages',
      guest,
      stripes: new StripeTable(setup.stripes),
      pushes: new PushTable(setup.pushes),
      counters: new Counters(setup.counters),
      onAttached: () => postEvent('attached'),
      onGivenBack: () => postEvent('givenBack'),
      onFailed: (error) => postEvent('failed', error.toData()),
    });
    channel.setBandwidth(setup.bandwidthBytes);
    return channel.listen();
  },
  sendRound: (round: number, key: number) => channel!.sendRound(round, key),
  startPush(key: number): void {
    yieldProcessor();
    channel!.startPush(key);
  },
  look: () => channel?.look(),
  hashPages: (work: HashWork) => hashShare(guest!, work),
  setBandwidth: (bytesPerSecond: number) => channel!.setBandwidth(bytesPerSecond),
  async close(): Promise<void> {
    await channel?.close();
    channel = null;
    guest = null;
    reclaimProcessor();
  },
};

export type PageChannelCommands = typeof commands;

serveThread(commands);
