/** What the API promises about itself: its paths, its document, its version, its figures. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ROUTES, type Route } from '@godwit/protocol/http-api';
import { Coordinator } from '../src/coordinator.ts';
import { makeLog } from '../src/log.ts';
import { SqliteStore } from '../src/store/sqlite-store.ts';
import { CoordinatorProcess } from './coordinator-process.ts';

interface Document {
  openapi: string;
  paths: { [path: string]: { [method: string]: { operationId: string; responses: object } } };
  components: { schemas: { [name: string]: object } };
}

const table = Object.values<Route>(ROUTES).map(({ method, path }) => `${method} ${path}`);

describe('the route table', () => {
  it('is what the server serves, both ways', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'godwit-api-'));
    const store = new SqliteStore(join(directory, 'state.sqlite'));
    const log = makeLog('error', join(directory, 'log'));
    const coordinator = await Coordinator.start({
      store,
      log,
      onShutdown: () => {},
      onBehind: () => {},
    });
    try {
      await coordinator.server.listen({ host: '127.0.0.1', port: 0 });
      assert.deepEqual([...coordinator.server.served].sort(), table.toSorted());
    } finally {
      await coordinator.close();
      rmSync(directory, { recursive: true });
    }
  });

  it('has each path once', () => {
    assert.equal(new Set(table).size, table.length);
  });
});

describe('the document and the version', () => {
  const coordinator = new CoordinatorProcess();
  before(() => coordinator.start());
  after(() => coordinator.dispose());

  it('is served, names every route and refers to nothing that is not there', async () => {
    const { status, body: document } = await coordinator.ask<Document>('GET', '/openapi.json');
    assert.equal(status, 200);
    assert.match(document.openapi, /^3\.1\./);
    const described = Object.entries(document.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const wanted = table.map((each) => each.replace(/:(\w+)/g, '{$1}'));
    assert.deepEqual(described.sort(), wanted.sort());
    const text = JSON.stringify(document);
    const references = [...text.matchAll(/"\$ref":"([^"]*)"/g)].map((match) => match[1]!);
    assert.ok(references.length > 20);
    for (const reference of references) {
      const name = /^#\/components\/schemas\/(\w+)$/.exec(reference)?.[1];
      assert.ok(name && document.components.schemas[name], reference);
    }
  });

  it('says its version in every answer', async () => {
    for (const path of ['/v1/status', '/v1/guests/none', '/openapi.json', '/metrics']) {
      const response = await fetch(coordinator.url + path);
      assert.equal(response.headers.get('godwit-api-version'), '1', path);
      await response.arrayBuffer();
    }
  });

  it('refuses another version by its path and by its header, with what to do', async () => {
    const byPath = await coordinator.ask('GET', '/v2/guests');
    const byHeader = await coordinator.ask('GET', '/v1/guests', undefined, {
      'godwit-api-version': '7',
    });
    for (const [{ status, body }, asked] of [
      [byPath, '2'],
      [byHeader, '7'],
    ] as const) {
      assert.deepEqual([status, body.error?.code], [400, 'api.version']);
      assert.ok(body.error?.message.startsWith(`version ${asked} of the HTTP API`));
      assert.match(body.error?.hint ?? '', /same release/);
    }
  });

  it('takes no query it does not know', async () => {
    const { status, body } = await coordinator.ask('GET', '/v1/migrations?color=blue');
    assert.deepEqual([status, body.error?.code], [400, 'request.invalid']);
    assert.match(body.error?.message ?? '', /color/);
  });
});
