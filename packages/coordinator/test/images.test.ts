/**
 * The coordinator knows which host holds which image: a guest's image is found by name, its host is told
 * where to get it, and a host to which a guest came is asked to fetch it.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Guest, Image } from '@godwit/protocol';
import { CoordinatorProcess } from './coordinator-process.ts';
import { FakeAgent } from './fake-agent.ts';

const MIB = 1024 ** 2;
const ONE = '1'.repeat(64);
const TWO = '2'.repeat(64);
const THREE = '3'.repeat(64);
const GUEST = { name: 'web1', kind: 'machine', memoryBytes: 64 * MIB, host: 'b' } as const;

describe('images of the cluster', () => {
  const coordinator = new CoordinatorProcess();
  let a: FakeAgent;
  let b: FakeAgent;

  before(async () => {
    await coordinator.start();
    a = new FakeAgent(coordinator, 'a');
    b = new FakeAgent(coordinator, 'b');
    await a.connect();
    await b.connect();
    a.send({
      type: 'images',
      images: [
        { digest: ONE, names: ['debian-13', 'mine'] },
        { digest: TWO, names: ['both'] },
      ],
    });
    b.send({ type: 'images', images: [{ digest: THREE, names: ['both'] }] });
    await coordinator.until<Image[]>('/v1/images', (body) => body.length === 3);
  });
  after(() => coordinator.dispose());

  const create = (more: object) =>
    coordinator.ask<Guest>('POST', '/v1/guests', { ...GUEST, ...more });

  it('are listed with the hosts that hold them', async () => {
    const { body } = await coordinator.ask<Image[]>('GET', '/v1/images');
    assert.deepEqual(body, [
      { digest: ONE, names: ['debian-13', 'mine'], hosts: ['a'] },
      { digest: TWO, names: ['both'], hosts: ['a'] },
      { digest: THREE, names: ['both'], hosts: ['b'] },
    ]);
  });

  it('are found by name, and the host is told who has them', async () => {
    const asked = b.next('createGuest');
    const { body } = await create({ image: 'debian-13', append: 'quiet' });
    const { spec, imageFrom, elf } = await asked;
    assert.deepEqual([spec.imageDigest, spec.image, spec.append], [ONE, 'debian-13', 'quiet']);
    assert.deepEqual(imageFrom, [`127.0.0.1:${7500 + 'a'.charCodeAt(0)}`]);
    assert.equal(elf, undefined);
    assert.deepEqual([body.image, body.imageDigest], ['debian-13', ONE]);
  });

  it('are fetched by a host that runs a guest without having its image', async () => {
    const { digest, from, request } = await b.next('fetchImage');
    assert.equal(digest, ONE);
    assert.deepEqual(from, [`127.0.0.1:${7500 + 'a'.charCodeAt(0)}`]);
    b.send({ type: 'done', request });
  });

  it('are refused when unknown, ambiguous, or with something else to run', async () => {
    const refusals: [object, number, string][] = [
      [{ image: 'none' }, 404, 'image.not_found'],
      [{ image: 'both' }, 400, 'request.invalid'],
      [{}, 400, 'guest.bad_spec'],
      [{ image: 'debian-13', imageDigest: ONE, elf: 'RUxG' }, 400, 'guest.bad_spec'],
      [{ elf: 'RUxG', append: 'quiet' }, 400, 'guest.bad_spec'],
      [{ imageDigest: '../x' }, 400, 'request.invalid'],
      [{ image: 'debian-13', append: 'x'.repeat(2_000) }, 400, 'request.invalid'],
    ];
    for (const [body, status, code] of refusals) {
      const answer = await create({ name: 'other', ...body });
      assert.deepEqual(
        [answer.status, answer.body.error?.code],
        [status, code],
        JSON.stringify(body),
      );
    }
  });

  it('by digest need not be known to any host: the agent says what it lacks', async () => {
    const asked = b.next('createGuest');
    b.refuses = { code: 'image.unavailable', detail: '{"image":"x","host":"b","why":"not here"}' };
    const { body, status } = await create({ name: 'other', imageDigest: 'e'.repeat(64) });
    b.refuses = undefined;
    assert.deepEqual((await asked).imageFrom, []);
    assert.deepEqual([status, body.error?.code], [503, 'image.unavailable']);
    assert.equal((await coordinator.ask('GET', '/v1/guests/other')).status, 404);
  });

  it('of a host that is gone are not offered', async () => {
    await a.disconnect();
    const images = await coordinator.until<Image[]>('/v1/images', (body) => body.length === 1);
    assert.deepEqual(images, [{ digest: THREE, names: ['both'], hosts: ['b'] }]);
  });
});
