/** `godwit up` as a user starts it: the command as a process of its own, in a directory of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const BIN = fileURLToPath(new URL('../bin/godwit.js', import.meta.url));

interface Ready {
  url: string;
  pid: number;
  hosts: { name: string; control: string; pid: number; daemonPid: number }[];
}

export class Up {
  readonly dir = mkdtempSync(join(tmpdir(), 'godwit-up-'));
  readonly process: ChildProcess;
  readonly #exited: Promise<unknown[]>;
  stderr = '';
  ready!: Ready;

  private constructor(argv: readonly string[], node: string, env: NodeJS.ProcessEnv) {
    const args = [BIN, 'up', '--port', '0', '--state-dir', this.dir, ...argv];
    this.process = spawn(node, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
    this.#exited = once(this.process, 'exit');
    this.process.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
  }

  /** Resolves when everything is up, or when it ended without. */
  static async start(argv: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<Up> {
    const up = new Up(argv, process.execPath, env);
    const line = once(createInterface({ input: up.process.stdout! }), 'line');
    await Promise.race([line, up.#exited]);
    if (up.process.exitCode === null) up.ready = JSON.parse((await line)[0]) as Ready;
    return up;
  }

  /** @returns the exit code */
  async stop(signal: NodeJS.Signals = 'SIGINT'): Promise<number | null> {
    this.process.kill(signal);
    return this.exit();
  }

  async exit(): Promise<number | null> {
    await this.#exited;
    return this.process.exitCode;
  }

  /** Processes whose command line names this cluster's directory: all of it, and nothing else. */
  processes(): number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(this.dir);
        } catch {
          return false; // It ended while we looked.
        }
      })
      .map(Number);
  }

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}
