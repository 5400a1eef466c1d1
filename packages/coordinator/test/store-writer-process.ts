/** store-writer.ts as a process: started, listened to, killed; for the tests of the store. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('./store-writer.ts', import.meta.url));
const DEADLINE_MS = 30_000;

/** A transaction that was acknowledged. */
export interface Acknowledged {
  readonly term: number;
  readonly n: number;
  readonly revision: number;
}

export class StoreWriter {
  readonly acknowledged: Acknowledged[] = [];
  /** Codes of the stalls it said, null for the end of one. */
  readonly stalls: (string | null)[] = [];
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  #told = Promise.withResolvers<void>();

  /** @param before command and arguments that the writer is started by */
  constructor(path: string, { width = 4, before = [] as string[] } = {}) {
    const [command, ...args] = [...before, process.execPath, MAIN, path, String(width)];
    this.#child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const lines = createInterface({ input: this.#child.stdout! });
    this.#closed = once(lines, 'close');
    lines.on('line', (line) => {
      const said = JSON.parse(line) as Acknowledged & { stall?: string | null };
      if (said.stall !== undefined) this.stalls.push(said.stall);
      else this.acknowledged.push(said);
      this.#told.resolve();
      this.#told = Promise.withResolvers();
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Resolves at the next acknowledgement. */
  async acknowledgedMore(): Promise<void> {
    const { length } = this.acknowledged;
    await this.until(() => this.acknowledged.length > length, 'an acknowledgement');
  }

  async until(isTrue: () => boolean, what: string): Promise<void> {
    const late = Promise.withResolvers<void>();
    const why = new Error(`the writer does not come to ${what}`);
    const timer = setTimeout(() => late.reject(why), DEADLINE_MS);
    while (!isTrue()) await Promise.race([this.#told.promise, late.promise]);
    clearTimeout(timer);
  }

  /** kill -9; resolves when all it had said is read. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#closed;
  }
}
