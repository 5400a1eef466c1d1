/**
 * What a power cut leaves of a state directory. Goal: with --durable whatever the agent was told is written is
 * on the disk under its name, a full journal's replacement included.
 *
 * No power is cut: a model keeps what each sync makes lasting, names and contents apart, and the agent's own
 * readers look at what it would leave.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { CoordinatorSeen } from '../src/state/coordinator-seen.ts';
import { Journal } from '../src/state/journal.ts';
import { stateDir } from './support/agent-parts.ts';

/** A journal holds so many; the next one makes a new file. */
const RECORDS = 2048;

/** A state directory on a disk that keeps what was synced and nothing else. */
class Disk {
  readonly dir: string;
  syncs = 0;
  readonly #left: string;
  #names = new Map<string, number>();
  readonly #contents = new Map<number, Buffer>();

  constructor(t: TestContext) {
    this.dir = stateDir(t);
    this.#left = stateDir(t);
    for (const name of ['fsyncSync', 'fdatasyncSync'] as const) {
      t.mock.method(fs, name, (file: number) => this.#synced(file));
    }
    syncBuiltinESMExports();
    t.after(() => {
      t.mock.restoreAll();
      syncBuiltinESMExports();
    });
  }

  #synced(file: number): void {
    this.syncs += 1;
    const { ino } = fs.fstatSync(file);
    const names = this.#namesNow();
    const name = [...names.keys()].find((each) => names.get(each) === ino);
    if (name !== undefined) this.#contents.set(ino, fs.readFileSync(join(this.dir, name)));
    else if (ino === fs.statSync(this.dir).ino) this.#names = names;
    else assert.fail('something else was synced');
  }

  #namesNow(): Map<string, number> {
    const names = fs.readdirSync(this.dir);
    return new Map(names.map((name) => [name, fs.statSync(join(this.dir, name)).ino]));
  }

  /** @returns a directory as a cut at this moment leaves it */
  cut(): string {
    for (const name of fs.readdirSync(this.#left)) fs.rmSync(join(this.#left, name));
    for (const [name, ino] of this.#names) {
      fs.writeFileSync(join(this.#left, name), this.#contents.get(ino) ?? '');
    }
    return this.#left;
  }
}

const ranAfter = (disk: Disk) => Journal.readDeath(disk.cut(), 'one', '')?.ran.at(-1)?.epoch;

test('RAN is on the disk when it is said to be, from the first one on', (t) => {
  const disk = new Disk(t);
  const journal = Journal.open(disk.dir, 'one', true);
  journal.ran('web', 1);
  assert.equal(ranAfter(disk), 1);
  journal.ran('web', 2);
  assert.equal(ranAfter(disk), 2);
  journal.close();
});

test('RAN is on the disk also when it makes a full journal a new file, and afterwards', (t) => {
  const disk = new Disk(t);
  const journal = Journal.open(disk.dir, 'one', true);
  for (let epoch = 1; epoch <= RECORDS; epoch++) journal.owned('web', epoch);
  const { ino } = fs.statSync(join(disk.dir, 'journal-one'));
  for (let epoch = RECORDS + 1; epoch <= RECORDS + 3; epoch++) {
    journal.ran('web', epoch);
    assert.equal(ranAfter(disk), epoch);
  }
  assert.notEqual(fs.statSync(join(disk.dir, 'journal-one')).ino, ino);
  journal.close();
});

test('another term or store is on the disk before it is obeyed; a revision costs no sync', (t) => {
  const disk = new Disk(t);
  const seen = CoordinatorSeen.open(disk.dir, true);
  seen.remember({ term: 3, storeId: 's', storeRev: 10 });
  assert.deepEqual(CoordinatorSeen.read(disk.cut()), { term: 3, storeId: 's', storeRev: 10 });
  const before = disk.syncs;
  seen.remember({ term: 3, storeId: 's', storeRev: 11 });
  assert.equal(disk.syncs, before);
  seen.remember({ term: 4, storeId: 's', storeRev: 12 });
  assert.deepEqual(CoordinatorSeen.read(disk.cut()), { term: 4, storeId: 's', storeRev: 12 });
  seen.remember({ term: 4, storeId: 'other', storeRev: 1 });
  assert.deepEqual(CoordinatorSeen.read(disk.cut()), { term: 4, storeId: 'other', storeRev: 1 });
  seen.close();
});

test('without --durable nothing waits for the disk', (t) => {
  const disk = new Disk(t);
  const journal = Journal.open(disk.dir, 'one');
  const seen = CoordinatorSeen.open(disk.dir);
  journal.ran('web', 1);
  seen.remember({ term: 3, storeId: 's', storeRev: 10 });
  assert.equal(disk.syncs, 0);
  journal.close();
  seen.close();
});
