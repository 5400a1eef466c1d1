/**
 * A dialogue with the kv guest: commands go out in order, replies come back in order.
 *
 * kv traffic -> [kv session] -> console client -> wherever the guest is
 *
 * Each command carries a number and its reply must carry the same one: a byte lost, doubled or changed
 * anywhere on the way shows at once. Lines that begin with `!` are the guest's own complaints.
 */
import { CommandError, type ConsoleClient, EXIT } from '@godwit/cli';

interface Waiting {
  readonly id: string;
  readonly resolve: (reply: string) => void;
  readonly reject: (error: Error) => void;
  readonly deadline: NodeJS.Timeout;
}

/** Longer than any blackout that the demo would call a success. */
const REPLY_DEADLINE_MS = 30_000;
const READY = /^kv ready (\d+)$/;

export class KvSession {
  readonly #console: ConsoleClient;
  readonly #encoder = new TextEncoder();
  readonly #decoder = new TextDecoder();
  readonly #waiting: Waiting[] = [];
  readonly #onReply: () => void;
  readonly #ready = Promise.withResolvers<void>();
  #text = '';
  #nextId = 1;
  #failure: Error | undefined;

  /** @param onReply called at each line from the guest */
  constructor(console: ConsoleClient, onReply: () => void) {
    this.#console = console;
    this.#onReply = onReply;
    this.#ready.promise.catch(() => {}); // Whoever opens the session hears of it there.
    console.on('output', (bytes) => this.#receive(bytes));
    console.on('gap', (bytes) => this.#fail(`${bytes} bytes of its output are missing`));
    console.on('ended', (why, code) => this.#fail(`it ended: ${why}, code ${code}`));
    console.on('failed', (error) => this.#fail(error.message));
  }

  /** Connects and waits for the guest's first line. */
  async open(): Promise<void> {
    const deadline = setTimeout(() => this.#fail('no first line'), REPLY_DEADLINE_MS);
    try {
      await this.#console.open();
      await this.#ready.promise;
    } finally {
      clearTimeout(deadline);
    }
  }

  /** @returns the reply without its number */
  request(command: string): Promise<string> {
    if (this.#failure) return Promise.reject(this.#failure);
    const id = `#${this.#nextId++}`;
    return new Promise((resolve, reject) => {
      const late = () => this.#fail(`no reply to "${command}" for ${REPLY_DEADLINE_MS / 1000} s`);
      const deadline = setTimeout(late, REPLY_DEADLINE_MS);
      this.#waiting.push({ id, resolve, reject, deadline });
      this.#console.write(this.#encoder.encode(`${id} ${command}\n`));
    });
  }

  async close(): Promise<void> {
    this.#fail('the session was closed');
    await this.#console.close();
  }

  #receive(bytes: Uint8Array): void {
    this.#text += this.#decoder.decode(bytes, { stream: true });
    const lines = this.#text.split('\n');
    this.#text = lines.pop() ?? '';
    for (const line of lines) this.#onLine(line);
  }

  #onLine(line: string): void {
    this.#onReply();
    if (line.startsWith('!')) return this.#fail(`it found its memory wrong: ${line}`);
    if (READY.test(line)) return this.#ready.resolve();
    const [id] = line.split(' ', 1);
    const first = this.#waiting.shift();
    if (first === undefined || first.id !== id) {
      return this.#fail(
        `expected the reply ${first?.id ?? 'of nobody'}, got "${line.slice(0, 60)}"`,
      );
    }
    clearTimeout(first.deadline);
    first.resolve(line.slice(first.id.length + 1));
  }

  /** The first failure ends the session: after it nothing can be trusted. */
  #fail(why: string): void {
    if (this.#failure) return;
    const message = `guest ${this.#console.guest}: ${why}`;
    this.#failure = new CommandError({ code: 'demo.kv', exit: EXIT.failed, message });
    this.#ready.reject(this.#failure);
    for (const { reject, deadline } of this.#waiting.splice(0)) {
      clearTimeout(deadline);
      reject(this.#failure);
    }
  }
}
