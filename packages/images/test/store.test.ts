/**
 * The image directory: what is in it is whole, whatever was interrupted; several writers do not hurt each
 * other; what goes takes nothing along that another image needs.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { GodwitError } from '@godwit/protocol';
import { writeCpio } from '../src/cpio.ts';
import { importImage } from '../src/import.ts';
import { ImageStore, imageDirectory, storeError } from '../src/store.ts';
import { chunked } from './archives.ts';
import { makeKernel } from './kernels.ts';

const root = mkdtempSync(join(tmpdir(), 'godwit-store-'));
after(() => rmSync(root, { recursive: true, force: true }));

let stores = 0;
const newStore = () => new ImageStore(join(root, `store-${++stores}`));

const code = (wanted: string) => (thrown: unknown) => {
  assert.ok(thrown instanceof GodwitError, String(thrown));
  assert.equal(thrown.code, wanted);
  return true;
};

const initrd = join(root, 'initrd');
writeFileSync(initrd, writeCpio([]));

function kernelFile(fill: number): string {
  const path = join(root, `kernel-${fill}`);
  writeFileSync(path, makeKernel(4096, fill));
  return path;
}

const importInto = (store: ImageStore, name: string, fill = 1, append = 'console=ttyS0') =>
  importImage({ store, kernel: kernelFile(fill), initrd, name, append });

describe('image directory', () => {
  it('is where flag, variable or cache say', () => {
    assert.equal(imageDirectory('/x', { GODWIT_IMAGE_DIR: '/y' }), '/x');
    assert.equal(imageDirectory(undefined, { GODWIT_IMAGE_DIR: '/y' }), '/y');
    assert.equal(imageDirectory(undefined, { XDG_CACHE_HOME: '/c' }), '/c/godwit/images');
    assert.equal(imageDirectory(undefined, { HOME: '/h' }), '/h/.cache/godwit/images');
  });

  it('gives back what was put in, by name, digest and its beginning', async () => {
    const store = newStore();
    assert.deepEqual(await store.list(), []);
    const manifest = await importInto(store, 'mine');
    for (const reference of ['mine', manifest.digest, manifest.digest.slice(0, 12)]) {
      assert.deepEqual((await store.find(reference)).manifest, manifest);
    }
    await assert.rejects(store.find('other'), code('image.not_found'));
    await assert.rejects(store.find('../../etc/passwd'), code('image.not_found'));
    assert.deepEqual(await store.get(manifest.digest), manifest);
    assert.deepEqual(readdirSync(join(store.directory, 'tmp')), []);
  });

  it('keeps a name for the image that has it', async () => {
    const store = newStore();
    const first = await importInto(store, 'mine', 1);
    assert.equal((await importInto(store, 'mine', 1)).digest, first.digest);
    await assert.rejects(importInto(store, 'mine', 2), code('image.exists'));
    assert.equal((await store.find('mine')).manifest.digest, first.digest);
    await assert.rejects(importInto(store, 'Not A Name'), code('guest.bad_name'));
    await assert.rejects(importInto(store, 'x', 1, 'a\nb'), code('request.invalid'));
  });

  it('shares files between images, and removes what nobody needs any more', async () => {
    const store = newStore();
    const one = await importInto(store, 'one', 1);
    const two = await importInto(store, 'two', 1, 'quiet');
    const blobs = () => readdirSync(join(store.directory, 'blobs')).length;
    assert.equal(blobs(), 2);
    assert.equal(await store.remove(one.digest), 0);
    assert.deepEqual(
      (await store.list()).map(({ names }) => names),
      [['two']],
    );
    const size = two.kernel.bytes + two.initrd!.bytes;
    assert.equal(await store.remove(two.digest), size);
    assert.equal(blobs(), 0);
    assert.equal(await store.remove(two.digest), 0);
  });

  it('shows nothing that is not whole', async () => {
    const store = newStore();
    const manifest = await importInto(store, 'mine');
    truncateSync(store.blobPath(manifest.kernel.sha256), 100);
    assert.deepEqual(await store.list(), []);
    assert.equal(await store.get(manifest.digest), undefined);
    await assert.rejects(store.addManifest(manifest), code('image.not_found'));
    // Made again, it is whole again.
    await importInto(store, 'mine');
    assert.equal((await store.list()).length, 1);
  });

  it('survives strange files in it', async () => {
    const store = newStore();
    await importInto(store, 'mine');
    writeFileSync(join(store.directory, 'images', 'x.json'), '{');
    writeFileSync(join(store.directory, 'names', 'Bad Name'), 'x');
    writeFileSync(join(store.directory, 'names', 'dangling'), 'e'.repeat(64));
    mkdirSync(join(store.directory, 'images', `${'f'.repeat(64)}.json`));
    assert.equal((await store.list()).length, 1);
  });

  it('refuses bytes that are not what was announced, and leaves nothing', async () => {
    const store = newStore();
    const data = Buffer.alloc(10_000, 'x');
    const { sha256 } = await store.addBlob(chunked(data, 999));
    const other = newStore();
    const wrong = [
      { sha256, bytes: data.length + 1 },
      { sha256, bytes: data.length - 1 },
      { sha256: 'a'.repeat(64), bytes: data.length },
    ];
    for (const expected of wrong) {
      await assert.rejects(other.addBlob(chunked(data, 999), expected), GodwitError);
    }
    async function* broken() {
      yield data;
      throw new Error('connection reset');
    }
    await assert.rejects(other.addBlob(broken()), /connection reset/);
    assert.deepEqual(readdirSync(other.directory), ['tmp']);
    assert.deepEqual(readdirSync(join(other.directory, 'tmp')), []);
  });

  it('takes the same image from several writers at once', async () => {
    const store = newStore();
    const all = await Promise.all(Array.from({ length: 8 }, () => importInto(store, 'mine')));
    assert.equal(new Set(all.map(({ digest }) => digest)).size, 1);
    assert.equal((await store.list()).length, 1);
  });

  it('says what to do when the disk is full or the directory cannot be written', async () => {
    const full = Object.assign(new Error('write'), { code: 'ENOSPC' });
    assert.equal((storeError(full, '/x') as GodwitError).code, 'image.no_space');
    writeFileSync(join(root, 'a-file'), '');
    const store = new ImageStore(join(root, 'a-file', 'images'));
    await assert.rejects(importInto(store, 'mine'), code('image.store'));
  });
});
