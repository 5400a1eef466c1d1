/**
 * `guest console` on a real terminal: every byte passes unchanged both ways, moves and window changes
 * disturb nothing, Ctrl-] leaves, and the terminal is left as it was found.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FakeAgent, FakeGuest } from './fake-agent.ts';
import { FakeCoordinator } from './fake-coordinator.ts';

const PYTHON = findPython();
const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const PTY = fileURLToPath(new URL('./terminal.py', import.meta.url));
const LIMIT_MS = 20_000;
const LEAVE = '\x1d';

/** All bytes but the one that leaves. */
const ALL = Buffer.from(Array.from({ length: 256 }, (_, i) => i).filter((byte) => byte !== 0x1d));

const NO_PYTHON = PYTHON === undefined && 'needs python3: install Debian package python3';

describe('a console on a terminal', { skip: NO_PYTHON }, () => {
  let coordinator: FakeCoordinator;
  let a: FakeAgent;
  let b: FakeAgent;
  let guest: FakeGuest;
  const terminals: Terminal[] = [];

  before(async () => {
    coordinator = await FakeCoordinator.start();
    coordinator.on('GET /v1/hosts', () => []);
  });
  after(() => coordinator.stop());
  beforeEach(async () => {
    guest = new FakeGuest();
    a = await FakeAgent.start(guest);
    b = await FakeAgent.start();
    const address = () => ({ guest: 'kv', host: 'a', url: a.url, epoch: guest.epoch });
    coordinator.on('GET /v1/guests/kv/console', address);
  });
  afterEach(async () => {
    for (const terminal of terminals.splice(0)) terminal.kill();
    await Promise.all([a.stop(), b.stop()]);
  });

  async function open(...flags: string[]): Promise<Terminal> {
    const terminal = new Terminal([...flags, '--coordinator', coordinator.url]);
    terminals.push(terminal);
    await terminal.shows('Ctrl-] leaves]');
    // The note is printed just before the terminal goes raw; a first answer says that it is.
    await until('raw mode', () => a.attachments > 0);
    return terminal;
  }

  it('passes every byte of output as it is', async () => {
    const terminal = await open();
    terminal.send('go\n');
    await until('the keys', () => guest.taken.includes('go'));
    const from = terminal.shown.length;
    a.say(ALL.toString('latin1'));
    a.say('\r\n\n\r end');
    await terminal.shows('\r\n\n\r end', from);
    const shown = terminal.shown.subarray(from);
    const expected = Buffer.concat([ALL, Buffer.from('\r\n\n\r end')]);
    assert.ok(shown.includes(expected), shown.toString('hex'));
    terminal.send(LEAVE);
    assert.equal(await terminal.exit, '0 restored');
  });

  it('passes every key to the guest, Ctrl-C, Ctrl-Z and Ctrl-D too, and leaves at Ctrl-]', async () => {
    const terminal = await open();
    terminal.send('k');
    await until('the first key', () => guest.taken === 'k');
    terminal.sendBytes(ALL);
    await until('all keys', () => guest.taken.length === 1 + ALL.length);
    assert.deepEqual(Buffer.from(guest.taken, 'latin1').subarray(1), ALL);
    terminal.send(`last${LEAVE}beyond`);
    assert.equal(await terminal.exit, '0 restored');
    assert.equal(guest.taken.slice(1 + ALL.length), 'last');
  });

  it('stays attached through a move and a window change, with nothing lost or twice', async () => {
    const terminal = await open();
    terminal.send('one ');
    await until('before', () => guest.taken === 'one ');
    for (const [from, to, how] of [
      [a, b, 'told'],
      [b, a, 'broken'],
    ] as const) {
      const attachments = to.attachments;
      from.moveTo(to, how);
      if (how === 'broken')
        coordinator.on('GET /v1/guests/kv/console', () => ({
          guest: 'kv',
          host: 'a',
          url: to.url,
          epoch: guest.epoch,
        }));
      terminal.command('size 50x132');
      terminal.send(`${how} `);
      await until('attached again', () => to.attachments > attachments);
      await until('the keys', () => guest.taken.endsWith(`${how} `));
    }
    assert.equal(guest.taken, 'one told broken ');
    terminal.send(LEAVE);
    assert.equal(await terminal.exit, '0 restored');
  });

  it('watches with --read-only: keys are dropped, Ctrl-] leaves', async () => {
    const terminal = await open('--read-only');
    a.say('seen');
    await terminal.shows('seen');
    terminal.send(`typed${LEAVE}`);
    assert.equal(await terminal.exit, '0 restored');
    assert.equal(guest.taken, '');
  });

  it('leaves the terminal in order when the guest ends, the console is taken over, or it hangs up', async () => {
    const ended = await open();
    a.end('powerOff', 0);
    assert.equal(await ended.exit, '0 restored');
    const taken = await open();
    a.cut('guest.console_busy');
    assert.equal(await taken.exit, '4 restored');
    assert.match(taken.shown.toString(), /was taken over by another one/);
    const gone = await open();
    gone.send('k');
    await until('the key', () => guest.taken === 'k');
    gone.command('end');
    assert.equal(await gone.exit, '130 restored');
  });
});

/** One command on a terminal of its own (terminal.py). */
class Terminal {
  shown = Buffer.alloc(0);
  /** "CODE restored" when the command is over. */
  readonly exit: Promise<string>;
  readonly #child: ChildProcess;

  constructor(flags: readonly string[]) {
    const command = [process.execPath, MAIN, 'guest', 'console', 'kv', ...flags];
    this.#child = spawn(PYTHON!, [PTY, '24x80', ...command], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const { promise, resolve } = Promise.withResolvers<string>();
    this.exit = promise;
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      const [word, ...rest] = line.split(' ');
      if (word === 'read') this.shown = Buffer.concat([this.shown, Buffer.from(rest[0]!, 'hex')]);
      if (word === 'exit') resolve(rest.join(' '));
    });
    this.#child.once('close', () => resolve('the terminal was closed'));
  }

  command(line: string): void {
    this.#child.stdin!.write(`${line}\n`);
  }

  send(keys: string): void {
    this.sendBytes(Buffer.from(keys, 'latin1'));
  }

  sendBytes(keys: Buffer): void {
    this.command(`send ${keys.toString('hex')}`);
  }

  async shows(text: string, from = 0): Promise<void> {
    await until(`${JSON.stringify(text)} on the terminal`, () =>
      this.shown.subarray(from).includes(text),
    );
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

/** The limit is for a broken build. */
async function until(what: string, holds: () => boolean): Promise<void> {
  const endsAtMs = performance.now() + LIMIT_MS;
  while (!holds()) {
    if (performance.now() > endsAtMs) throw new Error(`still waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function findPython(): string | undefined {
  try {
    return execFileSync('sh', ['-c', 'command -v python3'], { encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
}
