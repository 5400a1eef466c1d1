/** PROTOCOL.md is what the tables print, and no two errors say the same. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { protocolDocument } from '../src/document.ts';
import { ERRORS, type ErrorCode, GodwitError } from '../src/errors.ts';

test('PROTOCOL.md is up to date (npm run documents)', () => {
  const file = readFileSync(new URL('../../../PROTOCOL.md', import.meta.url), 'utf8');
  assert.equal(file, protocolDocument());
});

test('an error survives the wire with its text, code and exit', () => {
  const error = new GodwitError('host.no_room', { host: 'b', neededBytes: 1 << 20, freeBytes: 0 });
  const back = GodwitError.fromData(JSON.parse(JSON.stringify(error.toData())));
  assert.equal(back.message, error.message);
  assert.equal(back.exit, 4);
  assert.match(String(back.hint), /host ls/);
});

test('what is no error of ours becomes `internal`, whatever it is', () => {
  for (const data of [null, undefined, 1, 'x', {}, { code: 'no.such' }, { code: 'internal' }]) {
    assert.equal(GodwitError.fromData(data).code, 'internal');
  }
});

test('no two codes share a sentence', () => {
  const detail = new Proxy({}, { get: (_t, key) => String(key) }) as never;
  const texts = (Object.keys(ERRORS) as ErrorCode[])
    .map((code) => ERRORS[code].text(detail))
    .filter((text) => text !== 'why');
  assert.equal(new Set(texts).size, texts.length);
});
