/**
 * A Linux guest under load, and the watch over it: what people type in its shell, and what must be true
 * of every line that comes back.
 *
 *   demo, bench -> [linux guest] -> API -> a host
 *                                -> console client -> the shell
 *
 * Three loops run in the guest, each counting aloud: one checksums 64 MiB again and again, one prints, one
 * sleeps a second at a time and says how long it was away. Their numbers have no gap and no repetition
 * unless a console byte, a wake-up or a page was lost on the way; a checksum says WRONG unless memory is
 * what it was.
 */
import type { ApiClient } from './api-client.ts';
import { ConsoleClient } from './console-client.ts';
import type { GapMeter } from './gap-meter.ts';
import { ensureInCluster } from './image-push.ts';
import type { LinuxImage } from './linux-image.ts';

const READY = /^(godwit: ready|GUEST-READY)/m;
const BOOT_LIMIT_MS = 180_000;
const ANSWER_LIMIT_MS = 120_000;
/** Lines of dmesg that a guest has which was stopped too long, or whose timer was lost. */
const COMPLAINTS =
  'soft lockup|rcu.*(stall|starved)|hung_task|blocked for more|BUG:|Oops|Call Trace';

const SETTING = [
  // Neither what is typed nor the prompt may stand in a line of a loop's.
  "stty -echo; PS1=''; mkdir -p /tmp; echo quiet",
  // Each MiB begins with another word: two pages that changed places would show.
  'busybox yes block | busybox head -c 1048570 >/tmp/mib',
  'i=100000; while [ $i -lt 100064 ]; do echo $i; busybox cat /tmp/mib; i=$((i+1)); done >/tmp/sum',
  'W=$(busybox md5sum </tmp/sum); echo "file: $(busybox wc -c </tmp/sum) bytes"',
  // T: how long the system is up, in ms. The leading 1 keeps 08 from being read as octal.
  't() { IFS=". " read -r s c _ </proc/uptime; T=$((s * 1000 + 1$c * 10 - 1000)); }',
] as const;
const CHECKED_BYTES_MIN = 64 * 1048570;

/** What each loop runs, and what stands behind the number in each of its lines. */
const LOOPS = {
  sum: {
    typed:
      'n=0; while :; do n=$((n+1)); C=$(busybox md5sum </tmp/sum); [ "$C" = "$W" ] && echo "sum: $n ok" || echo "sum: $n WRONG"; done &',
    says: /^ ok$/,
  },
  loop: {
    typed: 'n=0; while :; do n=$((n+1)); echo "loop: $n"; sleep 0.1; done &',
    says: /^$/,
  },
  woke: {
    typed:
      'n=0; t; L=$T; while :; do sleep 1; t; n=$((n+1)); echo "woke: $n $((T-L)) ms"; L=$T; done &',
    says: /^ (\d+) ms$/,
  },
} as const;
export type LinuxLoop = keyof typeof LOOPS;
const COUNTED = /^(sum|loop|woke): (\d+)(.*)$/;

export interface LinuxBootOptions {
  readonly api: ApiClient;
  readonly name: string;
  readonly image: LinuxImage;
  readonly memoryBytes: number;
  readonly host: string;
  /** Marked at everything the guest says. */
  readonly gap?: GapMeter;
  /** Gives up waiting. */
  readonly signal?: AbortSignal;
}

export class LinuxGuest {
  readonly name: string;
  readonly #console: ConsoleClient;
  readonly #gap: GapMeter | undefined;
  readonly #decoder = new TextDecoder();
  readonly #counts = new Map<string, number>();
  #text = '';
  #line = '';
  #heard = unwatched();
  #longestSleepMs = 0;
  /** What went wrong; empty: nothing. */
  readonly errors: string[] = [];

  private constructor({ api, name, gap, signal }: LinuxBootOptions) {
    this.name = name;
    this.#gap = gap;
    this.#console = new ConsoleClient({ api, guest: name });
    this.#console.on('output', (bytes) =>
      this.#receive(this.#decoder.decode(bytes, { stream: true })),
    );
    this.#console.on('gap', (bytes) =>
      this.errors.push(`${bytes} bytes of console output are missing`),
    );
    this.#console.on('ended', (why) => this.#fail(`the guest ended: ${why}`));
    this.#console.on('failed', (error) => this.#fail(error.message));
    signal?.addEventListener('abort', () => this.#fail('interrupted'), { once: true });
  }

  /**
   * Brings the image to the host, makes a guest of it and waits for its shell.
   *
   * @returns the guest, and how long it took from the request on
   * @throws Error it does not come up; the guest is there, and its console is closed
   */
  static async boot(options: LinuxBootOptions): Promise<{ guest: LinuxGuest; bootMs: number }> {
    const { api, name, image, memoryBytes, host } = options;
    const { store, manifest } = image;
    await ensureInCluster({ api, store, manifest, onProgress: () => {} }, host);
    const began = performance.now();
    const what = { image: manifest.name, imageDigest: manifest.digest };
    await api.createGuest({ name, kind: 'machine', memoryBytes, host, ...what });
    const guest = new LinuxGuest(options);
    try {
      await guest.#console.open();
      await guest.hear(READY, BOOT_LIMIT_MS);
    } catch (error) {
      await guest.close();
      throw error;
    }
    return { guest, bootMs: performance.now() - began };
  }

  type(line: string): void {
    this.#console.write(new TextEncoder().encode(`${line}\n`));
  }

  /** The three loops are under way when each has spoken. */
  async load(): Promise<void> {
    const [quiet, ...more] = SETTING;
    this.type(quiet);
    await this.hear(/^quiet$/m);
    for (const line of more) this.type(line);
    for (const { typed } of Object.values(LOOPS)) this.type(typed);
    const [, bytes] = await this.hear(/^file: (\d+) bytes/m, BOOT_LIMIT_MS);
    if (Number(bytes) < CHECKED_BYTES_MIN) this.errors.push(`only ${bytes} bytes are checksummed`);
    for (const loop of Object.keys(LOOPS)) {
      await this.hear(new RegExp(`^${loop}: \\d`, 'm'), BOOT_LIMIT_MS);
    }
  }

  /** Resolves when the sleeper has woken once more, from now on. */
  async awake(): Promise<void> {
    this.#text = '';
    await this.hear(/^woke: \d/m);
  }

  /** Resolves to the match when text that has not been heard before has it. */
  async hear(pattern: RegExp, limitMs = ANSWER_LIMIT_MS): Promise<RegExpExecArray> {
    const late = () =>
      `nothing like ${pattern} in ${limitMs} ms, but ${JSON.stringify(this.#text.slice(-300))}`;
    const deadline = setTimeout(() => this.#fail(late()), limitMs);
    try {
      for (;;) {
        const found = pattern.exec(this.#text);
        if (found) {
          this.#text = this.#text.slice(found.index + found[0].length);
          return found;
        }
        await this.#heard.promise;
        this.#heard = unwatched();
      }
    } finally {
      clearTimeout(deadline);
    }
  }

  /** How far each loop has come. */
  get counts(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts);
  }

  /** The longest of the sleeper's seconds, by the guest's own clock. */
  get longestSleepMs(): number {
    return this.#longestSleepMs;
  }

  /** Ends the loops and asks the kernel whether it noticed anything. */
  async verdict(): Promise<void> {
    await this.awake();
    await this.hear(/^sum: \d/m);
    this.type(`kill $(jobs -p); echo "complaints: "$(dmesg | grep -ciE '${COMPLAINTS}')`);
    const [, count] = await this.hear(/^complaints: (\d+)/m);
    if (count !== '0') this.errors.push(`dmesg has ${count} lines of complaint`);
  }

  async close(): Promise<void> {
    await this.#console.close();
  }

  #receive(text: string): void {
    this.#gap?.mark();
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
    const [, loop, number, rest = ''] = found as unknown as [string, LinuxLoop, string, string];
    const expected = (this.#counts.get(loop) ?? 0) + 1;
    if (Number(number) !== expected) this.errors.push(`${line} came, ${loop}: ${expected} was due`);
    const said = LOOPS[loop].says.exec(rest);
    if (said === null) this.errors.push(`${loop} ${number} says:${rest}`);
    else if (loop === 'woke')
      this.#longestSleepMs = Math.max(this.#longestSleepMs, Number(said[1]));
    this.#counts.set(loop, Number(number));
  }

  #fail(why: string): void {
    this.errors.push(why);
    this.#heard.reject(new Error(`guest ${this.name}: ${why}`));
  }
}

/** One that may be rejected while nobody waits for it. */
function unwatched() {
  const deferred = Promise.withResolvers<void>();
  deferred.promise.catch(() => {});
  return deferred;
}
