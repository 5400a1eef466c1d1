/** Errors on the wire: whatever an error says, it can be told, and what comes back is an error of ours. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeMessage, encodeMessage } from '../src/codec.ts';
import { clip, fewNames, fromWireError, wireError } from '../src/error-text.ts';
import { ERRORS, type ErrorCode, GodwitError } from '../src/errors.ts';
import { TEXT_CHARS_MAX } from '../src/limits.ts';
import type { Message } from '../src/messages.ts';

const codes = Object.keys(ERRORS) as ErrorCode[];
const long = fc
  .tuple(fc.constantFrom('x', '\\', '\u0001', '€', '😀', '\ud800'), fc.nat({ max: 5000 }))
  .map(([text, times]) => text.repeat(times));

test('an error of any length travels and comes back with its code, its texts cut', () => {
  fc.assert(
    fc.property(fc.constantFrom(...codes), long, (code, text) => {
      // Its fields are what its text is made from.
      const read = ERRORS[code].text.toString().matchAll(/\bd\.(\w+)/g);
      const detail = Object.fromEntries([...read].map(([, field]) => [field, text]));
      const error = new GodwitError(code, detail as never);
      const said: Message = { type: 'failed', request: 1, error: wireError(error) };
      const heard = decodeMessage(encodeMessage(said), 'agent', 'agent') as Message<'failed'>;
      assert.equal(fromWireError(heard.error).code, code);
    }),
  );
});

test('whatever a peer says is an error of ours, and can be told on', () => {
  const detail = fc.oneof(long, fc.json(), fc.constant(`[${'1e20,'.repeat(700)}1]`));
  fc.assert(
    fc.property(fc.oneof(fc.constantFrom<string>(...codes), fc.string()), detail, (code, said) => {
      const error = fromWireError({ code, detail: said.slice(0, TEXT_CHARS_MAX) });
      const told = wireError(error);
      assert.ok(told.detail.length <= TEXT_CHARS_MAX);
      assert.ok(fromWireError(told) instanceof GodwitError);
    }),
  );
});

test('what is cut says so; what fits is left alone', () => {
  assert.equal(clip('abcd', 4), 'abcd');
  assert.equal(clip('abcde', 4), 'abc…');
  assert.equal(clip('ab😀de', 4), 'ab\ufffd…');
});

test('of many names a few are shown, in order', () => {
  assert.equal(fewNames(['b', 'a']), 'a, b');
  const many = Array.from({ length: 11 }, (_, i) => `n${i}`);
  assert.equal(fewNames(many), 'n0, n1, n10, n2, n3, n4, n5, n6 and 3 more');
});
