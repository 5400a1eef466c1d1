/**
 * Requests of the command line against servers that answer in every bad way: what is thrown, how it is said,
 * and that neither connections nor the library of `fetch` stay behind.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { API_VERSION_HEADER, GodwitError } from '@godwit/protocol';
import { ApiClient } from '../src/api-client.ts';
import { httpRequest } from '../src/http-request.ts';

const DEADLINE_MS = 20_000;
const SHORT_MS = 100;
/** For nobody's use: a certificate for localhost that no authority signed. */
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgNZH60OnTaNVRxsFj
9K9eBzVOP3+i7/WNL+aJ/F8VwQ6hRANCAATasVyvkZ9MIck7I9prMd42IRJgfUD0
kV9kgKf8jwL38NP2tC4djEN/G+jPoqcte4kw1O0bVSVvw141KKhI1Uim
-----END PRIVATE KEY-----`;
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBfjCCASWgAwIBAgIUXcyhh/yA/i/UUzzAVOMGC3YPrbMwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEzMDIwNDg1MloYDzIxMjYxMTA2
MjA0ODUyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATasVyvkZ9MIck7I9prMd42IRJgfUD0kV9kgKf8jwL38NP2tC4djEN/
G+jPoqcte4kw1O0bVSVvw141KKhI1Uimo1MwUTAdBgNVHQ4EFgQUK8ldV2ycJz4e
k6YSI4aDSKPNh/8wHwYDVR0jBBgwFoAUK8ldV2ycJz4ek6YSI4aDSKPNh/8wDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiAkLaLzGmZOVUvDNBce1K1w
WJwEt4lcRhE5Hie6fS3KuwIgQerUrigNXoKxEZlfBhnUUn+qfHElcRZ2JlqdAfXZ
uMQ=
-----END CERTIFICATE-----`;

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

async function listen(server: Server): Promise<number> {
  servers.push(server);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return (server.address() as AddressInfo).port;
}

async function serve(listener: RequestListener): Promise<string> {
  return `http://127.0.0.1:${await listen(createServer(listener))}`;
}

const ask = (url: string, more: { method?: string; body?: string; deadlineMs?: number } = {}) =>
  httpRequest({
    url,
    headers: { 'x-one': '1' },
    signal: AbortSignal.timeout(more.deadlineMs ?? DEADLINE_MS),
    ...more,
  });

const failure = (work: Promise<unknown>): Promise<Error & { code?: string }> =>
  work.then(
    () => assert.fail('it succeeded'),
    (error) => error,
  );

describe('a request', () => {
  it('sends method, headers and body, and gets status, headers and body', async () => {
    const url = await serve(async (request, response) => {
      const { method, headers } = request;
      const body = Buffer.concat(await request.toArray()).toString();
      response.writeHead(404, { 'x-two': '2' });
      response.end([method, headers['x-one'], headers['content-length'], body].join());
    });
    const answer = await ask(url, { method: 'POST', body: 'grüße' });
    assert.deepEqual([answer.status, answer.ok, answer.headers['x-two']], [404, false, '2']);
    assert.equal(await answer.text(), 'POST,1,7,grüße');
    assert.equal(await (await ask(url, { method: 'POST' })).text(), 'POST,1,0,');
  });

  it('gives a body in pieces with whole characters', async () => {
    const [first, second] = [Buffer.from('aä').subarray(0, 2), Buffer.from('aä').subarray(2)];
    const url = await serve((_, response) => {
      response.write(first);
      setTimeout(() => response.end(second), 20);
    });
    const pieces: string[] = [];
    for await (const piece of (await ask(url)).chunks()) pieces.push(piece);
    assert.deepEqual(pieces, ['a', 'ä']);
  });

  it('leaves no connection behind', async () => {
    const url = await serve((_, response) => response.end('x'));
    for (let i = 0; i < 3; i++) await (await ask(url)).text();
    const count = () =>
      new Promise((resolve) => servers[0]!.getConnections((_, open) => resolve(open)));
    for (let turn = 0; turn < 100 && (await count()) !== 0; turn++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.equal(await count(), 0);
  });

  it('ends at its deadline, with or without the head of an answer', async () => {
    const silent = await serve(() => {});
    const halting = await serve((_, response) => void response.write('a'));
    assert.equal((await failure(ask(silent, { deadlineMs: SHORT_MS }))).name, 'TimeoutError');
    const whole = ask(halting, { deadlineMs: 5 * SHORT_MS }).then(({ text }) => text());
    assert.equal((await failure(whole)).name, 'TimeoutError');
  });

  it('fails when its answer is cut off', async () => {
    const url = await serve((_, response) => {
      response.writeHead(200, { 'content-length': 10 });
      response.write('a', () => response.destroy());
    });
    assert.equal((await failure(ask(url).then(({ text }) => text()))).code, 'ECONNRESET');
  });

  it('does not load the library of fetch', () => {
    const file = new URL('../src/http-request.ts', import.meta.url).href;
    const source = `
      import { httpRequest } from ${JSON.stringify(file)};
      await httpRequest({ url: 'http://127.0.0.1:1', headers: {}, signal: AbortSignal.timeout(9e3) }).catch(() => {});
      const loaded = process.moduleLoadList.filter((name) => name.includes('undici'));
      process.exitCode = loaded.length;`;
    const node = ['--input-type=module', '-e', source];
    assert.equal(spawnSync(process.execPath, node, { timeout: DEADLINE_MS }).status, 0);
  });
});

describe('the API client says', () => {
  const refusal = async (url: string, deadlineMs = DEADLINE_MS) => {
    const error = await failure(new ApiClient({ url }).consoleAddress('web1', deadlineMs));
    assert.ok(error instanceof GodwitError, String(error));
    return `${error.code}: ${error.message}`;
  };

  it('that nobody listens, on any of the addresses of a name', async () => {
    const port = await listen(createServer());
    await new Promise((resolve) => servers.pop()!.close(resolve));
    for (const host of ['127.0.0.1', 'localhost', '[::1]']) {
      const url = `http://${host}:${port}`;
      const said = await refusal(url);
      assert.match(said, /^coordinator\.unreachable: no coordinator at .*: (.*)$/);
      // A machine without IPv6 has no such address at all.
      if (host !== '[::1]') assert.ok(said.endsWith(': connection refused'), said);
    }
  });

  it('that an answer took too long', async () => {
    const said = await refusal(await serve(() => {}), SHORT_MS);
    assert.match(said, /^request\.timed_out: .*GET \/v1\/guests\/web1\/console/);
  });

  it('that a connection was cut', async () => {
    const url = await serve((request) => request.socket.destroy());
    assert.match(await refusal(url), /^coordinator\.unreachable: .*: connection reset$/);
  });

  it('why a certificate will not do', async () => {
    const secure = createSecureServer({ key: KEY, cert: CERTIFICATE }, (_, response) => {
      response.end('{}');
    });
    const url = `https://127.0.0.1:${await listen(secure)}`;
    assert.match(await refusal(url), /^coordinator\.unreachable: .*: [A-Z_]*CERT[A-Z_]*$/);
  });

  it('that a coordinator speaks another version, and keeps no stream of it', async () => {
    const closed = Promise.withResolvers<void>();
    const url = await serve((_, response) => {
      response.writeHead(200, { [API_VERSION_HEADER]: '99' }).write(':\n\n');
      response.on('close', closed.resolve);
    });
    const opening = new ApiClient({ url }).openEvents(
      ['guest'],
      undefined,
      new AbortController().signal,
    );
    assert.equal((await failure(opening)).code, 'api.version');
    await closed.promise;
  });
});
