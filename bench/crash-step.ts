/**
 * Brings a move to the step of a crash case and holds it there.
 *
 *   arm the steps --> ask for the move --> [stands at `meanwhile.at`: a person cancels or stops, the
 *   guest powers itself off; heard] --> [stands at the step] --> strike (crash.ts) --> release
 *
 * A process stands at one step at a time, the one its `fault-point` names (fault-points.ts): where it is
 * held twice, the second name takes the place of the first, and that lets it go on to there.
 */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ApiClient, ConsoleClient } from '@godwit/cli';
import type { Migration } from '@godwit/protocol';
import type { Cluster } from './cluster.ts';
import type { Meanwhile, Scenario, Victim } from './crash-cases.ts';

const STEP_MS = 60_000;

export const HOST_OF = { source: 'a', target: 'b' } as const;

export class HeldMove {
  readonly #cluster: Cluster;
  readonly #guest: string;
  readonly #scenario: Scenario;
  readonly #armed = new Set<string>();
  #asked: Promise<Migration> | undefined;
  #refusal: Error | undefined;
  #isPromised = false;

  constructor(cluster: Cluster, guest: string, scenario: Scenario) {
    this.#cluster = cluster;
    this.#guest = guest;
    this.#scenario = scenario;
  }

  /** The coordinator has said that what was asked for meanwhile is so, or will be. */
  get isPromised(): boolean {
    return this.#isPromised;
  }

  /** Starts the move and waits until it stands at the step. */
  async until(step: string): Promise<void> {
    const { request, held, meanwhile } = this.#scenario;
    const later = [step, ...(held === undefined ? [] : [held])];
    const taken = meanwhile && this.#stateDirOf(meanwhile.at);
    for (const each of later) if (this.#stateDirOf(each) !== taken) this.#arm(each);
    if (meanwhile !== undefined) this.#arm(meanwhile.at);
    // Held before it is recorded, or its coordinator killed: the answer may never come.
    this.#asked = this.#cluster.post('/v1/migrations', { guest: this.#guest, to: 'b', ...request });
    this.#asked.catch((error) => {
      this.#refusal = error;
    });
    if (meanwhile !== undefined) {
      await this.#reached(meanwhile.at);
      await this.#happens(meanwhile, step);
      const next = later.find((each) => this.#stateDirOf(each) === taken);
      if (next === undefined) this.#disarm(taken as string);
      else this.#arm(next);
    }
    await this.#reached(step);
  }

  release(): void {
    for (const dir of this.#armed) this.#disarm(dir);
  }

  /** Resolves when what was asked has been heard and waits for whoever stands still. */
  async #happens({ what }: Meanwhile, step: string): Promise<void> {
    const { id } = (await this.#asked) as Migration;
    if (what === 'powerOff') {
      await this.#powerOff();
      return this.#logged('a', this.#guest, 'the guest ended by itself');
    }
    const path =
      what === 'cancel' ? `/v1/migrations/${id}/cancel` : `/v1/guests/${this.#guest}/stop`;
    this.#cluster.post(path).then(
      () => {
        this.#isPromised = true;
      },
      () => {},
    );
    if (what === 'stop') return this.#logged('coordinator', id, 'asked to stop the guest');
    // The coordinator may itself stand at the step before it tells the source.
    await Promise.race([this.#logged('a', id, 'asked to cancel'), this.#reached(step)]);
  }

  async #powerOff(): Promise<void> {
    const api = new ApiClient({ url: this.#cluster.url });
    const client = new ConsoleClient({ api, guest: this.#guest });
    client.on('failed', () => {});
    await client.open();
    client.write(Buffer.from('quit\n'));
    await this.#logged('a', this.#guest, 'the guest ended by itself');
    await client.close();
  }

  #logged(name: string, about: string, text: string): Promise<void> {
    return this.#cluster.until(`${name} logs: ${text}`, () =>
      this.#cluster
        .logTail(name, 1_000)
        .split('\n')
        .some((line) => line.includes(`"${about}"`) && line.includes(text)),
    );
  }

  #reached(step: string): Promise<void> {
    const path = join(this.#stateDirOf(step), 'at-step');
    return this.#cluster.until(
      () => `the step ${step} is reached ${this.#refusal?.message ?? ''}`,
      () => existsSync(path) && readFileSync(path, 'utf8') === step,
      STEP_MS,
    );
  }

  /** By a rename: whoever stands there reads the old name or the new one. */
  #arm(step: string): void {
    const dir = this.#stateDirOf(step);
    rmSync(join(dir, 'at-step'), { force: true });
    writeFileSync(join(dir, 'fault-point.new'), step);
    renameSync(join(dir, 'fault-point.new'), join(dir, 'fault-point'));
    this.#armed.add(dir);
  }

  #disarm(dir: string): void {
    rmSync(join(dir, 'fault-point'), { force: true });
    this.#armed.delete(dir);
  }

  #stateDirOf(step: string): string {
    const role = step.split(':')[0] as Victim;
    const { coordinator } = this.#cluster;
    return (role === 'coordinator' ? coordinator : this.#cluster.host(HOST_OF[role])).stateDir;
  }
}
