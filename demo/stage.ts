/**
 * What the demo plays on: a cluster in a directory of its own, or one that is there already; two guests,
 * the client on kv; afterwards Linux.
 *
 * Everything made here is taken down by `close`, in whatever state it is: it is called at the end, at
 * Ctrl-C and after a failure, and leaves no process, socket or file.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type ApiClient,
  Cluster,
  ConsoleClient,
  findLinux,
  GapMeter,
  type LinuxImage,
  usageError,
} from '@godwit/cli';
import { guestImagePath } from '@godwit/machine';
import { KvSession } from './kv-session.ts';
import { KvTraffic } from './kv-traffic.ts';
import { LinuxAct } from './linux-act.ts';
import { KV, KV_BYTES, LINUX, RATE_MIBPS, type Scale, WORKLOAD } from './plan.ts';

/** Room for both guests of the demo on every host, and for one that was not given back yet. */
const HOST_MEMORY_BYTES = 3 * 1024 ** 3;
const HOSTS = 3;

export class Stage {
  readonly stateDir = mkdtempSync(join(tmpdir(), 'godwit-demo-'));
  readonly #existing: ApiClient | undefined;
  #controls: readonly string[] = [];
  /** Of our guests: made by us, so ours to remove from a cluster that stays. */
  readonly #made: string[] = [];
  readonly kvGap = new GapMeter();
  #cluster: Cluster | undefined;
  #session: KvSession | undefined;
  #traffic: KvTraffic | undefined;
  #linuxImage: LinuxImage | undefined;
  #linux: LinuxAct | undefined;

  /** @param existing a cluster that somebody else started, and that goes on afterwards */
  constructor(existing?: ApiClient) {
    this.#existing = existing;
  }

  get api(): ApiClient {
    const api = this.#existing ?? this.#cluster?.api;
    if (api === undefined) throw new Error('the stage is not open');
    return api;
  }

  /** Control addresses of all hosts. */
  get controls(): readonly string[] {
    return this.#controls;
  }

  get traffic(): KvTraffic {
    if (this.#traffic === undefined) throw new Error('the stage is not open');
    return this.#traffic;
  }

  get linux(): LinuxAct {
    if (this.#linux === undefined) throw new Error('Linux is not on the stage');
    return this.#linux;
  }

  /** Before anything starts: what Linux will boot from. @throws CommandError, GodwitError as `findLinux` */
  async prepareLinux(): Promise<void> {
    this.#linuxImage = await findLinux(process.env, join(this.stateDir, 'images'));
  }

  /** @returns the names of the hosts */
  async openCluster(signal: AbortSignal): Promise<readonly string[]> {
    if (this.#existing === undefined) await this.#startCluster(signal);
    const hosts = (await this.api.hosts()).filter((host) => host.state === 'connected');
    if (hosts.length < 2) throw usageError(`${hosts.length} hosts are connected; it takes two`);
    this.#controls = hosts.map((host) => host.address);
    return hosts.map((host) => host.name).sort();
  }

  async #startCluster(signal: AbortSignal): Promise<void> {
    this.#cluster = await Cluster.start(
      {
        agents: HOSTS,
        port: 0,
        stateDir: this.stateDir,
        memoryBytes: HOST_MEMORY_BYTES,
        logLevel: 'warn',
        // What was imported for this run goes with it; an image of this machine is where it is.
        env: this.#linuxImage && { GODWIT_IMAGE_DIR: this.#linuxImage.store.directory },
      },
      signal,
    );
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
    this.#made.push(KV);
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
    this.#made.push(WORKLOAD);
    const client = new ConsoleClient({ api: this.api, guest: KV, outputOffset: 0 });
    this.#session = new KvSession(client, () => {});
    await this.#session.open();
    this.kvGap.mark(); // Its first line: from here on it is known to live.
    this.#traffic = new KvTraffic(this.#session, this.kvGap);
  }

  /** The two guests have been checked and make room: whoever boots here has the processors alone. */
  async openLinux(host: string, signal: AbortSignal): Promise<void> {
    await this.#session?.close();
    await this.#removeGuests(this.api);
    this.#made.push(LINUX);
    this.#linux = await LinuxAct.open({ api: this.api, image: this.#linuxImage!, host, signal });
  }

  async close(): Promise<void> {
    await this.#session?.close();
    await this.#traffic?.stop();
    await this.#linux?.close();
    if (this.#existing !== undefined) await this.#removeGuests(this.#existing);
    await this.#cluster?.stop();
    rmSync(this.stateDir, { recursive: true, force: true });
  }

  /** Nothing here may hide what the demo itself ended with. */
  async #removeGuests(api: ApiClient): Promise<void> {
    for (const guest of this.#made.splice(0)) {
      await api.stopGuest(guest).catch(() => {});
      await api.removeGuest(guest).catch(() => {});
    }
  }
}
