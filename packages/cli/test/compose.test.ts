/**
 * docker-compose.yml without an engine: the command line of each service, as compose makes it from the
 * environment, and what it says to an environment that makes no sense. `npm run compose-test` is the
 * rest, on a real engine.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { call } from './call.ts';

const FILE = readFileSync(new URL('../../../docker-compose.yml', import.meta.url), 'utf8');

/** `${NAME:-default}`, as compose has it: an empty variable is none. */
function substitute(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(/\$\{(\w+):-([^}]*)\}/g, (_all, name: string, otherwise: string) => {
    return env[name] || otherwise;
  });
}

/** Of every service that has one, by its first word and host name. */
function commands(env: Readonly<Record<string, string>>): string[][] {
  return [...FILE.matchAll(/^ {4}command: \[(.+)\]$/gm)].map(([, list]) =>
    substitute(list!, env)
      .split(', ')
      .map((word) => word.replace(/^"(.*)"$/, '$1')),
  );
}

describe('the environment of docker compose', () => {
  it('is described at the head of the file, each variable that is used', () => {
    const used = new Set([...FILE.matchAll(/\$\{(\w+)/g)].map(([, name]) => name!));
    const described = new Set([...FILE.matchAll(/^# {3}(GODWIT_\w+) {2,}/gm)].map(([, n]) => n!));
    assert.deepEqual([...used].sort(), [...described].sort());
  });

  it('may be empty', () => {
    const [coordinator, ...agents] = commands({ GODWIT_HOST_MEMORY: '' });
    assert.deepEqual(
      [coordinator?.[0], ...agents.map((words) => words.slice(0, 3).join(' '))],
      ['coordinator', 'agent --name a', 'agent --name b', 'agent --name c'],
    );
    for (const words of agents) assert.equal(words[words.indexOf('--memory') + 1], '2GiB');
  });

  const nonsense: [name: string, value: string, err: RegExp, services: number][] = [
    ['GODWIT_HOST_MEMORY', 'lots', /'lots': expected a size such as 256MiB/, 3],
    ['GODWIT_HOST_MEMORY', '-2GiB', /'-2GiB': expected a size|argument missing/, 3],
    ['GODWIT_HOST_MEMORY', '2GiB --token x', /expected a size/, 3],
    ['GODWIT_LOG_LEVEL', 'loud', /'loud'.* trace, debug, info, warn, error/, 4],
  ];
  for (const [name, value, err, services] of nonsense) {
    it(`${name}=${value}: one line, and what is expected`, async () => {
      const lines = commands({ [name]: value }).filter((words) => words.includes(value));
      assert.equal(lines.length, services);
      for (const words of lines) {
        const said = await call(words);
        assert.equal(said.exit, 2, said.err);
        assert.match(said.err, /^error: .*\nhint: .*\n$/);
        assert.match(said.err, err);
      }
    });
  }
});
