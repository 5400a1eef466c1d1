/** Completion as the user's own shell does it: a real bash, the script, a line and a press of TAB. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { call } from './call.ts';
import { aGuest, aMigration, FakeCoordinator } from './fake-coordinator.ts';

const BIN = fileURLToPath(new URL('../bin/godwit.js', import.meta.url));
const run = promisify(execFile);

describe('completion in a real bash', () => {
  const directory = mkdtempSync(join(tmpdir(), 'godwit-completion-'));
  let fake: FakeCoordinator;

  before(async () => {
    fake = await FakeCoordinator.start();
    fake.on('GET /v1/guests', () => [aGuest('web1'), aGuest('web2'), aGuest('mem1')]);
    fake.on('GET /v1/migrations', () => [aMigration()]);
    writeFileSync(join(directory, 'godwit.bash'), (await call(['completion', 'bash'])).out);
    writeFileSync(
      join(directory, 'godwit'),
      `#!/bin/sh\nexec '${process.execPath}' '${BIN}' "$@"\n`,
      { mode: 0o755 },
    );
  });
  after(async () => {
    await fake.stop();
    rmSync(directory, { recursive: true });
  });

  /** What TAB at the end of the line offers. */
  async function tab(line: string, coordinator = fake.url): Promise<string[]> {
    // The words as bash itself would cut them, colons included.
    const script = `
      source '${directory}/godwit.bash'
      COMP_LINE='${line}'; COMP_POINT=\${#COMP_LINE}
      COMP_WORDS=(${line
        .replaceAll(':', ' : ')
        .split(/ +/)
        .map((word) => `'${word}'`)
        .join(' ')})
      COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
      _godwit
      printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr } = await run('bash', ['-c', script], {
      env: {
        ...process.env,
        PATH: `${directory}:${process.env.PATH}`,
        GODWIT_COORDINATOR: coordinator,
      },
    });
    assert.equal(stderr, '');
    return stdout.split('\n').filter((each) => each !== '');
  }

  it('offers nouns, verbs and options', async () => {
    const nouns = await tab('godwit ');
    for (const noun of ['guest', 'host', 'migration', 'up', 'completion']) {
      assert.ok(nouns.includes(noun), noun);
    }
    assert.ok(!nouns.some((noun) => noun.startsWith('__')), 'only what a person would type');
    assert.deepEqual(await tab('godwit gue'), ['guest']);
    assert.ok((await tab('godwit guest ')).includes('migrate'));
    assert.deepEqual(await tab('godwit guest migrate --max-d'), ['--max-downtime']);
  });

  it('offers the values an option takes', async () => {
    assert.deepEqual(await tab('godwit guest migrate web1 --mode p'), ['precopy', 'postcopy']);
  });

  it('offers the guests, hosts and migrations there are', async () => {
    assert.deepEqual(await tab('godwit guest show we'), ['web1', 'web2']);
    assert.deepEqual(await tab('godwit guest migrate web1 --to '), ['a', 'b', 'c']);
    assert.deepEqual(await tab('godwit migration show m-'), ['m-7q3f']);
    assert.deepEqual(await tab('godwit migration ls --guest m'), ['mem1']);
    assert.deepEqual(await tab('godwit guest migrate --mode hybrid --channels 2 me'), ['mem1']);
  });

  it('asks the coordinator that the line names', async () => {
    const nobody = 'http://127.0.0.1:1';
    const line = `godwit guest show --coordinator ${fake.url} we`;
    assert.deepEqual(await tab(line, nobody), ['web1', 'web2']);
  });

  it('is silent where no coordinator answers', async () => {
    assert.deepEqual(await tab('godwit guest show w', 'http://127.0.0.1:1'), []);
  });

  it('is there for zsh and fish too', async () => {
    assert.match((await call(['completion', 'zsh'])).out, /bashcompinit/);
    const { out } = await call(['completion', 'fish']);
    assert.match(out, /complete -c godwit -n __fish_use_subcommand -a guest/);
    assert.match(out, /-a '\(godwit __names guest 2>\/dev\/null\)'/);
    const said = await call(['completion', 'tcsh']);
    assert.match(said.err, /no completion for shell 'tcsh'\nhint: there are bash, zsh, fish/);
  });
});
