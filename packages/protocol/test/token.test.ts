/** Where the cluster's token comes from, and what is no token. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { clusterToken, makeTokenFile, tokenFile } from '../src/token.ts';

describe('the cluster token', () => {
  const directory = mkdtempSync(join(tmpdir(), 'godwit-token-'));
  const file = join(directory, 'made/token');
  after(() => rmSync(directory, { recursive: true }));

  it('is made once, for its owner only', () => {
    makeTokenFile(file);
    const text = readFileSync(file, 'utf8');
    assert.match(text, /^[0-9a-f]{64}\n$/);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    makeTokenFile(file);
    assert.equal(readFileSync(file, 'utf8'), text);
  });

  it('comes from what is nearest: option, option file, variable, variable file', () => {
    const inFile = readFileSync(file, 'utf8').trim();
    const env = { GODWIT_TOKEN: 'from-variable', GODWIT_TOKEN_FILE: file };
    const cases = [
      [{ token: 'from-option', file }, env, 'from-option', undefined],
      [{ file }, env, inFile, file],
      [{}, env, 'from-variable', undefined],
      [{}, { GODWIT_TOKEN: '', GODWIT_TOKEN_FILE: file }, inFile, file],
      [{}, { GODWIT_TOKEN: '' }, undefined, undefined],
    ] as const;
    for (const [given, variables, token, path] of cases) {
      assert.equal(clusterToken(given, variables), token);
      assert.equal(tokenFile(given, variables), path);
    }
  });

  it('is refused with the file and the next step when there is none, or none in it', () => {
    const empty = join(directory, 'empty');
    writeFileSync(empty, '\n');
    for (const [path, why] of [
      [join(directory, 'none'), /there is no such file/],
      [empty, /it holds no token/],
    ] as const) {
      assert.throws(
        () => clusterToken({ file: path }, {}),
        (error: Error & { code?: string; hint?: string }) =>
          error.code === 'auth.token_file' &&
          error.message.includes(path) &&
          why.test(error.message) &&
          /copy it to the other machines/.test(error.hint ?? ''),
      );
    }
    assert.throws(() => clusterToken({ token: 'a b' }, {}), /without spaces/);
  });
});
