/**
 * A Linux guest under load, and the watch over it: what people type in its shell, and what must be true
 * of every line that comes back.
 *
 *   linux-soak.ts -> [linux guest] -> `godwit guest create --image` -> console client -> the shell
 *
 * Three loops run in the guest, each counting aloud: one checksums 64 MiB again and again, one prints, one
 * sleeps a second at a time. Their numbers have no gap and no repetition unless a console byte, a wake-up
 * or a page was lost on the way; a checksum says WRONG unless memory is what it was.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ApiClient, ConsoleClient } from '@godwit/cli';

const GODWIT = fileURLToPath(new URL('../packages/cli/bin/godwit.js', import.meta.url));
const READY = /^(godwit: ready|GUEST-READY)/m;
const BOOT_LIMIT_MS = 180_000;
const ANSWER_LIMIT_MS = 120_000;
/** Lines of dmesg that a guest has which was stopped too long, or whose timer was lost. */
const COMPLAINTS =
  'soft lockup|rcu.*(stall|starved)|hung_task|blocked for more|BUG:|Oops|Call Trace';

const LOOPS = [
  // Neither what is typed nor the prompt may stand in a line of a loop's.
  "stty -echo; PS1=''; mkdir -p /tmp; echo quiet",
  // Each MiB begins with another word: two pages that changed places would show.
  'busybox yes block | busybox head -c 1048570 >/tmp/mib',
  'i=100000; while [ $i -lt 100064 ]; do echo $i; busybox cat /tmp/mib; i=$((i+1)); done >/tmp/sum',
  'W=$(busybox md5sum </tmp/sum); echo "file: $(busybox wc -c </tmp/sum) bytes"',
  'n=0; while :; do n=$((n+1)); C=$(busybox md5sum </tmp/sum); [ "$C" = "$W" ] && echo "sum: $n ok" || echo "sum: $n WRONG"; done &',
  'n=0; while :; do n=$((n+1)); echo "loop: $n"; sleep 0.2; done &',
  'n=0; while :; do sleep 1; n=$((n+1)); echo "woke: $n"; done &',
] as const;
const CHECKED_BYTES_MIN = 64 * 1048570;
const COUNTED = /^(sum|loop|woke): (\d+)(.*)$/;

export class LinuxGuest {
  readonly name: string;
  readonly #console: ConsoleClient;
  readonly #decoder = new TextDecoder();
  readonly #counts = new Map<string, number>();
  #text = '';
  #line = '';
  #heard = Promise.withResolvers<void>();
  /** What went wrong; empty: nothing. */
  readonly errors: string[] = [];

  private constructor(url: string, name: string) {
    this.name = name;
    this.#console = new ConsoleClient({
      api: new ApiClient({ url, token: undefined }),
      guest: name,
    });
    this.#console.on('output', (bytes) =>
      this.#receive(this.#decoder.decode(bytes, { stream: true })),
    );
    this.#console.on('gap', (bytes) =>
      this.errors.push(`${bytes} bytes of console output are missing`),
    );
    this.#console.on('ended', (why) => this.#fail(`the guest ended: ${why}`));
    this.#console.on('failed', (error) => this.#fail(error.message));
  }

  /**
   * Imports the kernel, makes a guest of it and waits for its shell.
   *
   * @param directory holds `Image` and `initrd.cpio.gz`
   * @returns the guest, and how long the boot took
   */
  static async boot(url: string, name: string, directory: string, memory: string, host: string) {
    const images = mkdtempSync(join(tmpdir(), 'godwit-images-'));
    try {
      const files = [
        '--kernel',
        join(directory, 'Image'),
        '--initrd',
        join(directory, 'initrd.cpio.gz'),
      ];
      await godwit('image', 'import', ...files, '--name', 'linux', '--image-dir', images);
      const began = performance.now();
      const append = ['--append', 'console=ttyS0 cryptomgr.notests'];
      const where = ['--memory', memory, '--host', host, '--coordinator', url];
      await godwit(
        'guest',
        'create',
        name,
        '--image',
        'linux',
        '--image-dir',
        images,
        ...append,
        ...where,
      );
      const guest = new LinuxGuest(url, name);
      await guest.#console.open();
      await guest.hear(READY, BOOT_LIMIT_MS);
      return { guest, bootMs: performance.now() - began };
    } finally {
      rmSync(images, { recursive: true, force: true });
    }
  }

  type(line: string): void {
    this.#console.write(new TextEncoder().encode(`${line}\n`));
  }

  /** The three loops are under way when each has spoken. */
  async load(): Promise<void> {
    const [quiet, ...loops] = LOOPS;
    this.type(quiet);
    await this.hear(/^quiet$/m);
    for (const line of loops) this.type(line);
    const [, bytes] = await this.hear(/^file: (\d+) bytes/m, BOOT_LIMIT_MS);
    if (Number(bytes) < CHECKED_BYTES_MIN) this.errors.push(`only ${bytes} bytes are checksummed`);
    for (const loop of ['sum', 'loop', 'woke']) {
      await this.hear(new RegExp(`^${loop}: \\d`, 'm'), BOOT_LIMIT_MS);
    }
  }

  /** Resolves to the match when text that has not been heard before has it. */
  async hear(pattern: RegExp, limitMs = ANSWER_LIMIT_MS): Promise<RegExpExecArray> {
    const deadline = setTimeout(
      () =>
        this.#fail(
          `nothing like ${pattern} in ${limitMs} ms, but ${JSON.stringify(this.#text.slice(-300))}`,
        ),
      limitMs,
    );
    try {
      for (;;) {
        const found = pattern.exec(this.#text);
        if (found) {
          this.#text = this.#text.slice(found.index + found[0].length);
          return found;
        }
        await this.#heard.promise;
        this.#heard = Promise.withResolvers();
      }
    } finally {
      clearTimeout(deadline);
    }
  }

  /** How far each loop has come. */
  get counts(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts);
  }

  /** Ends the loops and asks the kernel whether it noticed anything. */
  async verdict(): Promise<void> {
    this.#text = '';
    await this.hear(/^woke: \d/m); // A sleeper still wakes.
    await this.hear(/^sum: \d/m);
    this.type(`kill $(jobs -p); echo "complaints: "$(dmesg | grep -ciE '${COMPLAINTS}')`);
    const [, count] = await this.hear(/^complaints: (\d+)/m);
    if (count !== '0') this.errors.push(`dmesg has ${count} lines of complaint`);
  }

  async close(): Promise<void> {
    this.#heard.promise.catch(() => {});
    await this.#console.close();
  }

  #receive(text: string): void {
    const clean = text.replaceAll('\r', '');
    this.#text += clean;
    const lines = (this.#line + clean).split('\n');
    this.#line = lines.pop()!;
    for (const line of lines) this.#count(line);
    this.#heard.resolve();
  }

  #count(line: string): void {
    const found = COUNTED.exec(line);
    if (found === null) {
      if (/(sum|loop|woke): \d/.test(line)) this.errors.push(`a line came that is none: ${line}`);
      return;
    }
    const [, loop = '', number, rest = ''] = found;
    const expected = (this.#counts.get(loop) ?? 0) + 1;
    if (Number(number) !== expected) this.errors.push(`${line} came, ${loop}: ${expected} was due`);
    if (rest !== '' && rest !== ' ok') this.errors.push(`checksum ${number}:${rest}`);
    this.#counts.set(loop, Number(number));
  }

  #fail(why: string): void {
    this.errors.push(why);
    this.#heard.reject(new Error(`guest ${this.name}: ${why}`));
  }
}

async function godwit(...args: readonly string[]): Promise<void> {
  await promisify(execFile)(process.execPath, [GODWIT, ...args]);
}
