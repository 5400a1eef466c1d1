/**
 * `image pull` from a small signed archive, through the machine's own apt: the whole way from the
 * signature to the image, and each link of it broken once.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { GodwitError } from '@godwit/protocol';
import { type Pulled, pullImage } from '../src/pull.ts';
import { ImageStore } from '../src/store.ts';
import { Signer, writeRepository } from './repository.ts';

const MISSING = ['apt-get', 'gpg', 'gpg-agent', 'gpgv'].filter(
  (name) => !existsSync(`/usr/bin/${name}`),
);
const SKIP =
  MISSING.length > 0 && `needs ${MISSING.join(', ')}: Debian packages apt, gpg, gpg-agent, gpgv`;

describe('image pull', { skip: SKIP }, () => {
  const root = mkdtempSync(join(tmpdir(), 'godwit-pull-'));
  const signers: Signer[] = [];
  const newSigner = (name: string) => {
    const signer = new Signer(root, name);
    signers.push(signer);
    return signer;
  };
  after(() => {
    for (const signer of signers) signer.close();
    rmSync(root, { recursive: true, force: true });
  });
  let count = 0;
  const fresh = () => join(root, `directory-${++count}`);
  const signer = MISSING.length === 0 ? newSigner('archive') : undefined;

  async function pull(
    mirror: string,
    store: ImageStore,
    more = {},
  ): Promise<Pulled & { notes: string[] }> {
    const notes: string[] = [];
    const pulled = await pullImage({
      name: 'debian-13',
      store,
      mirror,
      keyring: signer!.keyring,
      signal: new AbortController().signal,
      note: (text) => notes.push(text),
      onProgress: () => {},
      ...more,
    });
    return { ...pulled, notes };
  }
  const fails = (wanted: string, text?: RegExp) => (thrown: unknown) => {
    assert.ok(thrown instanceof GodwitError, String(thrown));
    assert.equal(thrown.code, wanted, thrown.message);
    if (text) assert.match(thrown.message, text);
    return true;
  };

  it('makes an image, the same bytes again, and knows when it is up to date', async () => {
    const mirror = writeRepository(fresh(), { signer: signer! });
    const store = new ImageStore(fresh());
    const first = await pull(mirror, store);
    assert.equal(first.isUpToDate, false);
    assert.match(first.notes[0]!, /Test 13; signature good/);
    assert.match(first.manifest.source.kernel!, /^linux-image-6\.12-test-riscv64 1\.0-1 sha256:/);
    assert.equal((await store.find('debian-13')).manifest.digest, first.manifest.digest);
    assert.deepEqual(readdirSync(join(store.directory, 'pull')), []);
    const second = await pull(mirror, store);
    assert.equal(second.isUpToDate, true);
    const elsewhere = await pull(mirror, new ImageStore(fresh()));
    assert.equal(elsewhere.manifest.digest, first.manifest.digest);
  });

  it('takes a newer release, and the name goes with it', async () => {
    const directory = fresh();
    const store = new ImageStore(fresh());
    const { manifest: older } = await pull(writeRepository(directory, { signer: signer! }), store);
    const newer = await pull(
      writeRepository(directory, { signer: signer!, version: '1.1-1' }),
      store,
    );
    assert.notEqual(newer.manifest.digest, older.digest);
    assert.equal((await store.find('debian-13')).manifest.digest, newer.manifest.digest);
    assert.deepEqual((await store.find(older.digest)).names, []);
  });

  it('refuses a release that another key signed, or none', async () => {
    const store = new ImageStore(fresh());
    const other = newSigner('other');
    const mirror = writeRepository(fresh(), { signer: other });
    await assert.rejects(
      pull(mirror, store),
      fails('image.pull_failed', /NO_PUBKEY|not signed|public key/i),
    );
    await assert.rejects(pull(writeRepository(fresh()), store), fails('image.pull_failed'));
    assert.deepEqual(await store.list(), []);
  });

  it('refuses packages that are not what the index says', async () => {
    const store = new ImageStore(fresh());
    const flip = (deb: Buffer) => {
      const changed = Buffer.from(deb);
      changed[changed.length - 1]! ^= 1;
      return changed;
    };
    for (const damage of [flip, (deb: Buffer) => deb.subarray(0, 1_000)]) {
      const mirror = writeRepository(fresh(), { signer: signer!, damage });
      await assert.rejects(pull(mirror, store), fails('image.pull_failed', /apt-get download/));
    }
    assert.deepEqual(await store.list(), []);
  });

  it('refuses an archive of another release, an absent one, and an unknown name', async () => {
    const store = new ImageStore(fresh());
    const forky = writeRepository(fresh(), { signer: signer!, codename: 'forky' });
    await assert.rejects(pull(forky, store), fails('image.pull_failed'));
    await assert.rejects(pull(`copy:${fresh()}`, store), fails('image.pull_failed'));
    await assert.rejects(pull(forky, store, { name: 'toString' }), fails('image.not_found'));
  });

  it('that was interrupted leaves the image of before, and goes on the next time', async () => {
    const directory = fresh();
    const store = new ImageStore(fresh());
    const { manifest } = await pull(writeRepository(directory, { signer: signer! }), store);
    const mirror = writeRepository(directory, { signer: signer!, version: '1.1-1' });
    const stop = new AbortController();
    const interrupted = pull(mirror, store, {
      signal: stop.signal,
      note: (text: string) => text.startsWith('packages') && stop.abort(),
    });
    await assert.rejects(interrupted, fails('image.pull_failed', /interrupted/));
    assert.equal((await store.find('debian-13')).manifest.digest, manifest.digest);
    assert.notEqual((await pull(mirror, store)).manifest.digest, manifest.digest);
  });
});
