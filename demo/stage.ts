/**
 * What the demo plays on: a cluster in a directory of its own, two guests, the client on kv.
 *
 * Everything made here is taken down by `close`, in whatever state it is: it is called at the end, at
 * Ctrl-C and after a failure, and leaves no process, socket or file.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ApiClient, Cluster, ConsoleClient, GapMeter } from '@godwit/cli';
import { guestImagePath } from '@godwit/machine';
import { KvSession } from './kv-session.ts';
import { KvTraffic } from './kv-traffic.ts';
import { KV, KV_BYTES, RATE_MIBPS, type Scale, WORKLOAD } from './plan.ts';

/** Room for both guests of the demo on every host, and for one that was not given back yet. */
const HOST_MEMORY_BYTES = 3 * 1024 ** 3;
const HOSTS = 3;

export class Stage {
  readonly stateDir = mkdtempSync(join(tmpdir(), 'godwit-demo-'));
  readonly kvGap = new GapMeter();
  #cluster: Cluster | undefined;
  #session: KvSession | undefined;
  #traffic: KvTraffic | undefined;

  get api(): ApiClient {
    return this.cluster.api;
  }

  get cluster(): Cluster {
    if (this.#cluster === undefined) throw new Error('the stage is not open');
    return this.#cluster;
  }

  get traffic(): KvTraffic {
    if (this.#traffic === undefined) throw new Error('the stage is not open');
    return this.#traffic;
  }

  async openCluster(signal: AbortSignal): Promise<readonly string[]> {
    this.#cluster = await Cluster.start(
      {
        agents: HOSTS,
        port: 0,
        stateDir: this.stateDir,
        memoryBytes: HOST_MEMORY_BYTES,
        logLevel: 'warn',
      },
      signal,
    );
    return this.#cluster.hosts.map((host) => host.name);
  }

  async openGuests(scale: Scale): Promise<void> {
    const host = scale.hosts[0]!;
    const elf = (await readFile(guestImagePath('kv'))).toString('base64');
    await this.api.createGuest({
      name: KV,
      kind: 'machine',
      memoryBytes: KV_BYTES,
      host,
      image: 'kv',
      elf,
    });
    await this.api.createGuest({
      name: WORKLOAD,
      kind: 'workload',
      memoryBytes: scale.workloadBytes,
      host,
      workload: {
        pattern: 'hotset',
        content: 'random',
        rateMiBps: RATE_MIBPS,
        hotBytes: scale.hotBytes,
      },
    });
    const client = new ConsoleClient({ api: this.api, guest: KV, outputOffset: 0 });
    this.#session = new KvSession(client, () => {});
    await this.#session.open();
    this.kvGap.mark(); // Its first line: from here on it is known to live.
    this.#traffic = new KvTraffic(this.#session, this.kvGap);
  }

  async close(): Promise<void> {
    await this.#session?.close();
    await this.#traffic?.stop();
    await this.#cluster?.stop();
    rmSync(this.stateDir, { recursive: true, force: true });
  }
}
