/**
 * QEMU's `virt` machine as a second opinion: runs a program and talks to its UART.
 *
 * The process is ended by its own handle, at the latest when the deadline of a read passes.
 */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';

const QEMU = 'qemu-system-riscv64';
/**
 * Cores of exactly RV64IMAC, and of RV64GC with S and U mode and Sv39; the default one has extensions that
 * make more encodings legal.
 */
export type QemuCpu = 'sifive-e51' | 'sifive-u54';
/** Far beyond what any of these programs needs; only a hang reaches it. */
const READ_DEADLINE_MS = 60_000;

/** Why a comparison cannot be made here, or false when it can. For node:test's `skip`. */
export function qemuMissing(): string | false {
  try {
    execFileSync(QEMU, ['--version'], { stdio: 'ignore' });
    return false;
  } catch {
    return `needs ${QEMU}: install Debian package qemu-system-misc`;
  }
}

export class Qemu {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<unknown>;
  #output = '';
  #errors = '';
  #outputEnded = false;
  #taken = 0;
  #heard: () => void = () => {};

  constructor(elfPath: string, memoryMib: number, cpu: QemuCpu = 'sifive-e51') {
    const machine = ['-machine', 'virt', '-cpu', cpu, '-m', `${memoryMib}M`, '-bios', 'none'];
    const quiet = ['-display', 'none', '-serial', 'stdio', '-monitor', 'none'];
    this.#process = spawn(QEMU, [...machine, ...quiet, '-kernel', elfPath]);
    this.#ended = once(this.#process, 'exit');
    this.#process.stdout.setEncoding('latin1');
    this.#process.stdout.on('data', (text: string) => {
      this.#output += text;
      this.#heard();
    });
    this.#process.stdout.on('end', () => {
      this.#outputEnded = true;
      this.#heard();
    });
    this.#process.stderr.setEncoding('latin1');
    this.#process.stderr.on('data', (text: string) => {
      this.#errors += text;
    });
    // The process may end by itself while input is still on its way.
    this.#process.stdin.on('error', () => {});
  }

  send(text: string): void {
    this.#process.stdin.write(text, 'latin1');
  }

  /** Output not yet read, up to and with the first `end`. Throws when the program ends before. */
  async readTo(end: string): Promise<string> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#heard();
    }, READ_DEADLINE_MS);
    try {
      for (;;) {
        const at = this.#output.indexOf(end, this.#taken);
        if (at >= 0) return this.#take(at + end.length);
        if (late || this.#outputEnded) {
          const why = late ? `nothing for ${READ_DEADLINE_MS} ms` : await this.#ending();
          throw new Error(`${why}, without ${JSON.stringify(end)}`);
        }
        await new Promise<void>((resolve) => {
          this.#heard = resolve;
        });
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async #ending(): Promise<string> {
    await this.#ended;
    const { exitCode, signalCode } = this.#process;
    return `QEMU ended with ${exitCode ?? signalCode}: ${this.#errors.trim()}`;
  }

  #take(end: number): string {
    const text = this.#output.slice(this.#taken, end);
    this.#taken = end;
    return text;
  }

  /** Waits for the program's own end; answers the exit status. */
  async exitStatus(): Promise<number | null> {
    await this.#ended;
    return this.#process.exitCode;
  }

  async close(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#ended;
  }
}
