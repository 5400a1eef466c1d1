/**
 * The journal, the lock and the remembered coordinator. Goal: what an incarnation owned and began to run
 * is known after its SIGKILL, whatever was torn, and two agents never live on one directory.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { GodwitError } from '@godwit/protocol';
import fc from 'fast-check';
import { CoordinatorSeen } from '../src/state/coordinator-seen.ts';
import { Journal } from '../src/state/journal.ts';
import { StateLock } from '../src/state/lock.ts';
import { stateDir } from './support/agent-parts.ts';

const RECORD_BYTES = 128;

test('a death report says what was owned and what had begun to run', (t) => {
  const dir = stateDir(t);
  const journal = Journal.open(dir, 'one');
  journal.owned('web', 3);
  journal.owned('db', 1);
  journal.ran('web', 4);
  journal.gone('db', 1);
  journal.close();
  assert.deepEqual(Journal.readDeath(dir, 'one', 'killed by SIGKILL'), {
    incarnation: 'one',
    exit: 'killed by SIGKILL',
    ran: [{ guest: 'web', epoch: 4 }],
    owned: [{ guest: 'web', epoch: 4 }],
  });
});

test('leaving under an older epoch takes nothing away from a newer one', (t) => {
  const dir = stateDir(t);
  const journal = Journal.open(dir, 'one');
  journal.ran('web', 6);
  journal.gone('web', 5);
  journal.close();
  assert.deepEqual(Journal.readDeath(dir, 'one', '')?.owned, [{ guest: 'web', epoch: 6 }]);
});

test('RAN stays when the guest has gone on', (t) => {
  const dir = stateDir(t);
  const journal = Journal.open(dir, 'one');
  journal.ran('web', 6);
  journal.gone('web', 7);
  journal.close();
  const death = Journal.readDeath(dir, 'one', '');
  assert.deepEqual(death?.owned, []);
  assert.deepEqual(death?.ran, [{ guest: 'web', epoch: 6 }]);
});

test('a journal cut or garbled at any byte yields the records before it', (t) => {
  const dir = stateDir(t);
  const journal = Journal.open(dir, 'one');
  for (let epoch = 1; epoch <= 4; epoch++) journal.ran('web', epoch);
  journal.close();
  const path = join(dir, 'journal-one');
  const whole = readFileSync(path);
  const read = () => Journal.readDeath(dir, 'one', '')!.ran.length;
  fc.assert(
    fc.property(
      fc.nat(4 * RECORD_BYTES - 1),
      fc.boolean(),
      fc.integer({ min: 1, max: 255 }),
      (at, cut, flip) => {
        writeFileSync(path, whole);
        if (cut) {
          truncateSync(path, at);
        } else {
          const bad = Buffer.from(whole);
          bad[at]! ^= flip;
          writeFileSync(path, bad);
        }
        assert.equal(read(), Math.floor(at / RECORD_BYTES));
      },
    ),
    { numRuns: 200 },
  );
});

test('a full journal is rewritten with the same meaning and the same size', (t) => {
  const dir = stateDir(t);
  const journal = Journal.open(dir, 'one');
  const path = join(dir, 'journal-one');
  const bytes = readFileSync(path).length;
  for (let epoch = 1; epoch <= 5000; epoch++) {
    journal.owned(`g${epoch % 10}`, epoch);
    if (epoch % 100 === 0) journal.ran('web', epoch);
  }
  journal.close();
  const death = Journal.readDeath(dir, 'one', '')!;
  assert.equal(readFileSync(path).length, bytes);
  assert.equal(death.ran.length, 50);
  assert.equal(death.owned.length, 11);
  assert.deepEqual(readdirSync(dir), ['journal-one']);
});

test('former incarnations are found, and forgotten when their end is recorded', (t) => {
  const dir = stateDir(t);
  for (const incarnation of ['one', 'two']) {
    const journal = Journal.open(dir, incarnation);
    journal.welcomed();
    journal.close();
  }
  Journal.open(dir, 'three', true).close();
  const found = Journal.readDeaths(dir, 'three').map(({ incarnation }) => incarnation);
  assert.deepEqual(found.sort(), ['one', 'two']);
  Journal.forget(dir, 'one');
  assert.equal(Journal.readDeath(dir, 'one', ''), null);
  assert.equal(Journal.readDeaths(dir, 'three').length, 1);
});

test('an incarnation that no coordinator ever knew is no news', (t) => {
  const dir = stateDir(t);
  for (let life = 1; life <= 20; life++) {
    Journal.open(dir, `life-${life}`).close();
    assert.deepEqual(Journal.readDeaths(dir, 'next'), []);
  }
  assert.deepEqual(readdirSync(dir), []);
});

test('a process that is killed leaves every entry it was told is written', async (t) => {
  const dir = stateDir(t);
  const script = fileURLToPath(new URL('./support/journal-writer.ts', import.meta.url));
  const writer = spawn(process.execPath, [script, dir], { stdio: ['ignore', 'pipe', 'inherit'] });
  let told = 0;
  for await (const chunk of writer.stdout) {
    told = Number(chunk.toString().trim().split('\n').at(-1));
    if (told >= 50) break;
  }
  writer.kill('SIGKILL');
  if (writer.exitCode === null && writer.signalCode === null) await once(writer, 'exit');
  const { ran } = Journal.readDeath(dir, 'writer', 'killed')!;
  assert.ok(ran.length >= told, `${ran.length} entries, ${told} told`);
  ran.forEach(({ epoch }, i) => {
    assert.equal(epoch, i + 1);
  });
});

test('one agent a directory: the second is refused until the first has ended', (t) => {
  const dir = stateDir(t);
  const first = StateLock.take(dir);
  assert.throws(
    () => StateLock.take(dir),
    (error) => error instanceof GodwitError && error.code === 'state.locked',
  );
  first.release();
  StateLock.take(dir).release();
});

test('a directory that cannot be made is one clear error', (t) => {
  const file = join(stateDir(t), 'file');
  writeFileSync(file, '');
  assert.throws(() => StateLock.take(join(file, 'state')), /^GodwitError: state directory .*file/);
});

test('the highest word of a coordinator is kept over restarts, one torn write included', (t) => {
  const dir = stateDir(t);
  const first = CoordinatorSeen.open(dir);
  assert.equal(first.seen.term, 0);
  first.remember({ term: 3, storeId: 's', storeRev: 10 });
  first.remember({ term: 3, storeId: 's', storeRev: 11 });
  first.close();
  assert.deepEqual(CoordinatorSeen.read(dir), { term: 3, storeId: 's', storeRev: 11 });
  // The newest is the even one, slot 0: break it, and the one before it counts.
  const path = join(dir, 'coordinator-seen');
  const bytes = readFileSync(path);
  bytes[20]! ^= 1;
  writeFileSync(path, bytes);
  assert.deepEqual(CoordinatorSeen.read(dir), { term: 3, storeId: 's', storeRev: 10 });
});
