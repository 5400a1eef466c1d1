/**
 * The debugger's door: Debian's gdb-multiarch through it, then bytes no debugger would send. The guest
 * and the server run in this process; gdb is a child.
 */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { promisify } from 'node:util';
import * as own from '../assembly/machine-map.ts';
import * as map from '../assembly/memory-map.ts';
import { translate } from '../src/gdb/memory.ts';
import { encodePacket, PACKET_BYTES_MAX, PacketReader } from '../src/gdb/packets.ts';
import { GuestMemory, guestImagePath } from '../src/mod.ts';
import { debugMachine, type RunOptions, type RunResult, runMachine } from '../src/run.ts';
import { Assembler, writeElf } from './riscv/assembler.ts';
import * as e from './riscv/encode.ts';

const MIB = 1048576;
const RAM = 0x80000000;
const HELLO = guestImagePath('hello');
const hello = readFileSync(HELLO);

interface Session {
  readonly port: number;
  readonly result: Promise<RunResult>;
}

const open = new Set<Session>();

/** A failed test leaves a guest that stands: nothing but a debugger ends it. */
afterEach(() => {
  for (const { port } of open)
    connect(port, '127.0.0.1')
      .on('error', () => {})
      .end('$k#6b');
});

async function debug(options: Partial<RunOptions> = {}, wait = true): Promise<Session> {
  const listening = Promise.withResolvers<number>();
  const run = { elf: hello, memoryBytes: 2 * MIB, ...options };
  const result = debugMachine(run, { port: 0, wait, onListening: listening.resolve });
  result.catch(listening.reject);
  const session = { port: await listening.promise, result };
  open.add(session);
  void result.finally(() => open.delete(session));
  return session;
}

function program(...code: readonly number[]): Uint8Array {
  const assembler = new Assembler(RAM);
  assembler.emit(...code);
  return writeElf(RAM, assembler.bytes());
}

function gdbMissing(): string | false {
  try {
    execFileSync('gdb-multiarch', ['--version']);
    return false;
  } catch {
    return 'needs gdb-multiarch: install Debian package gdb-multiarch';
  }
}

describe('gdb-multiarch', { skip: gdbMissing() }, () => {
  const run = promisify(execFile);

  async function gdb(port: number, ...commands: readonly string[]): Promise<string> {
    const given = ['set confirm off', `target remote 127.0.0.1:${port}`, ...commands];
    const { stdout, stderr } = await run(
      'gdb-multiarch',
      ['-nx', '-batch', ...given.flatMap((command) => ['-ex', command]), HELLO],
      { timeout: 120_000 },
    );
    return stdout + stderr;
  }

  it('stops at a function, steps, reads and writes registers and memory, and lets go', async () => {
    let output = '';
    const onOutput = (bytes: Uint8Array) => {
      output += Buffer.from(bytes).toString();
    };
    const { port, result } = await debug({ maxInstructions: 3_000_000, onOutput });
    const said = await gdb(
      port,
      'p $pc',
      'break main',
      'continue',
      'p $pc',
      'stepi',
      'stepi',
      'p $priv',
      'set $t3 = 0x1122334455667788',
      'p/x $t3',
      'set {long}0x80100000 = 0x0102030405060708',
      'x/2xg 0x80100000',
      'x/1xg 0x40000000',
      'info threads',
      'set $mscratch = 77',
      'p $mscratch',
      'set $fa0 = 2.5',
      'p $fa0',
      'set $frm = 3',
      'p/x $fcsr',
      'delete',
      'detach',
    );
    assert.match(said, /^\$1 = \(void \(\*\)\(\)\) 0x80000000/m);
    assert.match(said, /^Breakpoint 1, 0x[0-9a-f]+ in main \(\)/m);
    assert.match(said, /^\$3 = 3$/m);
    assert.match(said, /^\$4 = 0x1122334455667788$/m);
    assert.match(said, /^0x80100000:\s+0x0102030405060708\s+0x0000000000000000$/m);
    assert.match(said, /Cannot access memory at address 0x40000000/);
    assert.match(said, /\* 1 .*hart 0, machine mode/);
    assert.match(said, /^\$5 = 77$/m);
    assert.match(said, /^\$6 = .*2\.5/m);
    assert.match(said, /^\$7 = 0x60$/m);
    const { end, instructions } = await result;
    assert.deepEqual([end, instructions], ['limit', 3_000_000n]);
    assert.match(output, /^hello: a guest on RV64IMAC; type a line, or quit\ntick 1\n/);
  });

  it('sees each hart as a thread and can end the program', async () => {
    const { port, result } = await debug({ harts: 3 });
    const said = await gdb(
      port,
      'break main',
      'continue',
      'info threads',
      'thread 3',
      'p $pc',
      'kill',
    );
    assert.match(said, /1 .*hart 0, machine mode\)/);
    assert.match(said, /3 .*hart 2, machine mode\)/);
    assert.match(said, /Switching to thread 3/);
    const { end, exit } = await result;
    assert.deepEqual([end, exit], ['killed', 137]);
  });

  it('is shown a crash before the program ends of it', async () => {
    const { port, result } = await debug({ elf: program(e.addi(5, 0, 42), 0xffffffff) });
    const said = await gdb(port, 'continue', 'p $t0', 'p $mcause', 'continue');
    assert.match(said, /its trap handler traps/);
    assert.match(said, /received signal SIGSEGV/);
    assert.match(said, /^\$1 = 42$/m);
    assert.match(said, /exited with code/);
    assert.equal((await result).end, 'crash');
  });
});

// ------------------------------------------------------------------------- by hand, over TCP

class Peer {
  readonly socket: Socket;
  #text = '';
  #heard = Promise.withResolvers<void>();
  closed = false;

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1');
    this.socket.on('data', (bytes) => {
      this.#text += bytes.toString('latin1');
      this.#heard.resolve();
    });
    this.socket.on('error', () => {});
    this.socket.on('close', () => {
      this.closed = true;
      this.#heard.resolve();
    });
  }

  send(bytes: string | Buffer): void {
    this.socket.write(bytes);
  }

  /** What has come, once it holds the pattern; throws when the connection ends first. */
  async hear(pattern: RegExp): Promise<string> {
    for (;;) {
      const found = pattern.exec(this.#text);
      if (found) {
        const heard = this.#text.slice(0, found.index + found[0].length);
        this.#text = this.#text.slice(heard.length);
        return heard;
      }
      if (this.closed) throw new Error(`closed after ${JSON.stringify(this.#text)}`);
      await this.#heard.promise;
      this.#heard = Promise.withResolvers();
    }
  }

  async ask(payload: string): Promise<string> {
    this.send(encodePacket(payload));
    return /\$([^#]*)#/s.exec(await this.hear(/\$[^#]*#../s))![1]!;
  }

  /** As soon as the server has noticed that the one before is gone. */
  static async after(port: number): Promise<Peer> {
    for (;;) {
      const peer = new Peer(port);
      const answer = await peer.ask('?').catch(() => undefined);
      if (answer !== undefined) return peer;
    }
  }

  async end(): Promise<void> {
    while (!this.closed) {
      await this.#heard.promise;
      this.#heard = Promise.withResolvers();
    }
  }
}

describe('a client by hand', () => {
  it('is acknowledged, told of damage, and repeated to', async () => {
    const { port, result } = await debug();
    const peer = new Peer(port);
    peer.send('$?#00');
    assert.equal(await peer.hear(/-/), '-');
    peer.send('$?#3f');
    assert.equal(await peer.hear(/#../), '+$T05thread:1;#d7');
    peer.send('-');
    assert.equal(await peer.hear(/#../), '$T05thread:1;#d7');
    assert.equal(await peer.ask('QStartNoAckMode'), 'OK');
    peer.send('$?#3f');
    assert.equal(await peer.hear(/#../), '$T05thread:1;#d7');
    assert.equal(await peer.ask('vMustReplyEmpty'), '');
    assert.equal(await peer.ask('qCRC:0,10'), '');
    peer.send(encodePacket('k'));
    assert.equal((await result).end, 'killed');
    await peer.end();
  });

  it('interrupts a running guest, and finds it running on when it comes back', async () => {
    const { port, result } = await debug({ clock: 'host' }, false);
    const peer = new Peer(port);
    assert.match(await peer.ask('?'), /^T05/);
    peer.send(encodePacket('c'));
    peer.send('\x03');
    assert.match(await peer.hear(/#../), /T02thread:1;/);
    assert.equal(await peer.ask('Z0,80000000,4'), 'OK');
    peer.socket.destroy();
    const again = await Peer.after(port);
    assert.equal(await again.ask('vCont?'), 'vCont;c;C;s;S');
    again.send(encodePacket('vKill;1'));
    assert.equal((await result).end, 'killed');
  });

  it('is refused while another one is there', async () => {
    const { port, result } = await debug();
    const first = new Peer(port);
    await first.ask('?');
    const second = new Peer(port);
    await second.end();
    first.send(encodePacket('k'));
    await result;
  });

  it('is told when every hart waits for ever', async () => {
    const { port, result } = await debug({ elf: program(e.WFI, 0x6f) });
    const peer = new Peer(port);
    await peer.ask('?');
    peer.send(encodePacket('c'));
    const heard = await peer.hear(/T02thread:1;/);
    assert.match(heard, new RegExp(Buffer.from('waits for ever').toString('hex')));
    peer.send(encodePacket('k'));
    await result;
  });

  it('steps exactly one instruction, over a breakpoint too, and stops before one', async () => {
    const elf = program(...Array.from({ length: 8 }, () => e.addi(5, 5, 1)), 0x6f);
    const { port, result } = await debug({ elf });
    const peer = new Peer(port);
    const pc = async () => Buffer.from(await peer.ask('p20'), 'hex').readUInt32LE();
    assert.equal(await peer.ask('Z1,80000004,4'), 'OK');
    assert.equal(await peer.ask('s'), 'T05thread:1;');
    assert.equal(await pc(), RAM + 4);
    assert.equal(await peer.ask('vCont;s:1;c'), 'T05thread:1;');
    assert.equal(await pc(), RAM + 8);
    assert.equal(await peer.ask('Z0,80000010,4'), 'OK');
    assert.equal(await peer.ask('c'), 'T05thread:1;');
    assert.equal(await pc(), RAM + 16);
    // The fifth addi has not run: what a breakpoint promises.
    assert.equal(await peer.ask('p5'), '0400000000000000');
    assert.equal(await peer.ask('c80000000'), 'T05thread:1;');
    assert.equal(await pc(), RAM + 4);
    peer.send(encodePacket('k'));
    await result;
  });

  it('gets errors for what makes no sense, and nothing else happens', async () => {
    const { port, result } = await debug();
    const peer = new Peer(port);
    const before = await peer.ask('g');
    const nonsense = [
      ...['m', 'm80000000', 'm80000000,', 'mx,4', 'm80000000,ffffffff', 'm80000000,4,4'],
      ...['m10000000000000000,4', 'M80000000,4:0102', 'M80000000,4:zz', 'X80000000,4:a'],
      ...['p', 'pffff', 'pzz', 'P0', 'P20=12', 'P20', 'Pfff=0000000000000000', 'Gab', 'G'],
      ...['Hg9', 'Hgx', 'Hx1', 'H', 'T0', 'T9', 'Tffffffffffffffff', 'Z0,', 'Z0,x', 'vCont'],
      ...['vCont;x', 'vCont;', 'vCont;c:9', 'czz', 'qThreadExtraInfo,', 'qThreadExtraInfo,99'],
      ...['qXfer:features:read:target.xml:0', 'qXfer:features:read:target.xml:x,y'],
    ];
    for (const payload of nonsense) assert.match(await peer.ask(payload), /^E../, payload);
    assert.equal(await peer.ask('m40000000,8'), 'E0e');
    assert.equal(await peer.ask('mfffffffffffffff8,10'), 'E0e');
    // The last bytes of RAM and not one more.
    assert.equal((await peer.ask(`m${(RAM + 2 * MIB - 4).toString(16)},8`)).length, 8);
    for (let i = 0; i < map.BREAKS_MAX; i++) {
      assert.equal(await peer.ask(`Z0,${i.toString(16)},4`), 'OK');
    }
    assert.match(await peer.ask('Z0,ffff,4'), /^E../);
    assert.equal(await peer.ask('Z2,80000000,4'), '');
    assert.equal(await peer.ask('g'), before);
    peer.send(encodePacket('D'));
    peer.send(encodePacket('D'));
    await peer.end();
    const last = await Peer.after(port);
    last.send(encodePacket('k'));
    await result;
  });

  it('is cut off with a packet that is too long; the guest runs on', async () => {
    const { port, result } = await debug({ maxInstructions: 1_000_000 });
    const peer = new Peer(port);
    await peer.ask('?');
    peer.send(`$${'m'.repeat(PACKET_BYTES_MAX + 1)}`);
    await peer.end();
    assert.equal((await result).end, 'limit');
  });

  it('does not change a program that it only looks at', async () => {
    const options = { elf: hello, memoryBytes: 2 * MIB, stopAt: 500_000, digest: true };
    const { port, result } = await debug(options);
    const peer = new Peer(port);
    await peer.ask('?');
    await peer.ask('Z0,1000,4'); // Never met: every instruction is executed one by one for its sake.
    peer.send(encodePacket('c'));
    await peer.hear(/W00#/);
    assert.equal((await result).digest, runMachine(options).digest);
  });
});

// ------------------------------------------------------------------------------------ parts

describe('packets', () => {
  const read = (...pieces: readonly (string | Buffer)[]) => {
    const reader = new PacketReader();
    return pieces
      .flatMap((piece) => [...reader.take(Buffer.from(piece as string, 'latin1'))])
      .map((each) => (each.is === 'packet' ? { ...each, payload: `${each.payload}` } : each.is));
  };

  it('may come in any pieces, with noise between and a lost end', () => {
    assert.deepEqual(read('+x$', 'q', 'C#b', '4'), [{ is: 'packet', payload: 'qC', ok: true }]);
    assert.deepEqual(read('$lost$qC#B4\x03-'), [
      { is: 'packet', payload: 'qC', ok: true },
      'interrupt',
      'repeat',
    ]);
  });

  it('are damaged when the sum is not theirs or is none', () => {
    for (const text of ['$qC#b5', '$qC#zz', '$qC#-4', '$#0x']) {
      assert.deepEqual(read(text), [{ is: 'packet', payload: '', ok: false }], text);
    }
  });

  it('carry any byte', () => {
    const payload = String.fromCharCode(...Array.from({ length: 256 }, (_, i) => i));
    const [received] = [...new PacketReader().take(encodePacket(payload))];
    assert.ok(received?.is === 'packet' && received.ok);
    assert.equal(received.payload.toString('latin1'), payload);
  });

  it('of every length cut off at every place ask for nothing', () => {
    const whole = encodePacket('m80000000,4');
    for (let length = 0; length < whole.length; length++) {
      assert.deepEqual([...new PacketReader().take(whole.subarray(0, length))], []);
    }
  });
});

describe('translation', () => {
  const guest = GuestMemory.create({ ramBytes: MIB, harts: 1 });
  const view = new DataView(guest.sab, map.RAM);
  const root = 0x80001000n;
  const satp = (8n << 60n) | (root >> 12n);
  const pte = (physical: bigint, flags: bigint) => ((physical >> 12n) << 10n) | flags;
  const put = (address: bigint, value: bigint) =>
    view.setBigUint64(Number(address - BigInt(own.RAM_BASE)), value, true);
  const at = (address: bigint, privilege = 1n) => translate(guest, { privilege, satp }, address);

  it('follows Sv39 tables through all three sizes of page', () => {
    put(root + 8n, pte(0x80002000n, 1n)); // 0x40000000: a table
    put(0x80002000n + 8n, pte(0x80003000n, 1n)); // + 2 MiB: a table
    put(0x80003000n + 8n, pte(0x80044000n, 0xfn)); // + 4 KiB: a page
    put(0x80002000n + 16n, pte(0x80200000n, 0xfn)); // + 4 MiB: a page of 2 MiB
    put(root + 16n, pte(0x80000000n, 0xfn)); // 0x80000000: a page of 1 GiB
    put(root + 511n * 8n, pte(0x80000000n, 0xfn)); // the top one
    assert.equal(at(0x40201234n), 0x80044234n);
    assert.equal(at(0x40412345n), 0x80212345n);
    assert.equal(at(0x80123456n), 0x80123456n);
    assert.equal(at(0xffffffffc0001000n), 0x80001000n);
  });

  it('is nothing where a table says so, is outside RAM or the address is not canonical', () => {
    put(root + 24n, pte(0x10000000n, 1n));
    put(0x80003000n + 16n, 0n);
    assert.equal(at(0x40202000n), undefined);
    assert.equal(at(0xc0000000n), undefined);
    assert.equal(at(0x0n), undefined);
    assert.equal(at(0x4000000000n), undefined);
    assert.equal(at(0x8000000040201234n), undefined);
  });

  it('is the address itself in machine mode and without paging', () => {
    assert.equal(at(0x40201234n, 3n), 0x40201234n);
    assert.equal(translate(guest, { privilege: 1n, satp: 0n }, 0x1234n), 0x1234n);
  });
});
