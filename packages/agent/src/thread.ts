/**
 * Calling into a worker thread, and keeping finished ones warm.
 *
 *   main: Thread.call(name, ...) --- request ---> worker: serveThread(commands)
 *                                <-- result ----
 *                                <-- event -----
 *
 * The only use of postMessage between the main thread and its workers: page channels, faults, vCPUs,
 * memory tasks. Page bytes never travel here: memory and counters are shared, messages are small.
 * Starting a worker costs a tenth of a second of a core and more, longer than many a migration takes,
 * so threads that ended their work cleanly wait for the next one, and an agent starts some ahead.
 *
 *   message            direction         content
 *   request            main to thread    id, command, arguments
 *   result             thread to main    id, value or error as data
 *   event              thread to main    name, argument
 */
import { once } from 'node:events';
import { basename } from 'node:path';
import { parentPort, Worker } from 'node:worker_threads';
import { type ErrorData, GodwitError } from '@godwit/protocol';
import { collectGarbage } from './collect.ts';

/**
 * Functions a thread offers; arguments and results must survive structured cloning. `close` ends all
 * that the thread has open and lets go of everything it was given.
 */
// biome-ignore lint/suspicious/noExplicitAny: the constraint of a table of functions of any shape
export type Commands = Record<string, (...args: any[]) => unknown> & { close(): Promise<void> };

type Result =
  | { id: number; value: unknown }
  | { id: number; error: ErrorData }
  | { event: string; argument: unknown };

interface Pending {
  readonly resolve: (value: never) => void;
  readonly reject: (error: GodwitError) => void;
}

/** A thread of whatever kind, as far as its owner handles all of them alike. */
export interface OwnedThread {
  onEvent: (event: string, argument: unknown) => void;
  onDeath: (error: GodwitError) => void;
  close(): Promise<void>;
}

/**
 * Idle threads kept of each kind until the agent is quiet: eight migrations' worth at the default number
 * of channels, so that a drain under its limits starts its threads once.
 */
const IDLE_MAX = 16;
const idle = new Map<string, Worker[]>();
/**
 * What a thread may allocate between two quick collections. Page bytes are not on the heap and nothing
 * here is, for long; V8's own choice lets each thread's garbage grow to three times 16 MiB.
 */
const YOUNG_HEAP_MIB = 2;
/** Asks a thread for a collection; not one of its commands. */
const COLLECT = '(collect)';
/** Collections asked for so far, and which of them each thread has made. */
let collections = 0;
const collected = new WeakMap<Worker, number>();

export class Thread<C extends Commands> implements OwnedThread {
  readonly #file: string;
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  readonly #onMessage = (result: Result) => this.#receive(result);
  readonly #onError = (error: Error) => this.#die(error);
  readonly #onExit = (code: number) => this.#die(new Error(`thread exited with ${code}`));
  #lastId = 0;
  #dead: GodwitError | null = null;
  /** Of one that died: settles when nothing of it is left, its sockets closed. */
  #gone: Promise<unknown> | undefined;
  /** Called for each event the thread posts. */
  onEvent: (event: string, argument: unknown) => void = () => {};
  /** Called once if the thread ends by itself: a fault of ours. */
  onDeath: (error: GodwitError) => void = () => {};

  /** A thread that runs `file`: an idle one, or a new one. */
  constructor(file: URL) {
    this.#file = file.href;
    this.#worker = idle.get(this.#file)?.pop() ?? startWorker(file);
    this.#worker.ref();
    this.#worker.on('message', this.#onMessage);
    this.#worker.on('error', this.#onError);
    this.#worker.on('exit', this.#onExit);
  }

  /** Runs a command in the thread. Rejects with the thread's typed error, or when the thread ends. */
  call<K extends keyof C & string>(
    command: K,
    ...args: Parameters<C[K]>
  ): Promise<Awaited<ReturnType<C[K]>>> {
    return this.#request(command, args);
  }

  /** Ends the thread wherever it stands; for one that does not answer. */
  async terminate(): Promise<void> {
    this.#die(new Error('terminated'));
    await this.#worker.terminate();
  }

  /** Has the thread close what it has open, and gives it up for reuse; one that died is gone. Never rejects. */
  async close(): Promise<void> {
    const closed = await this.#request('close', []).then(
      () => true,
      () => false,
    );
    if (this.#dead !== null) return void (await this.#gone);
    this.#dead = new GodwitError('internal', { why: 'a released thread was used' });
    this.#worker.off('message', this.#onMessage);
    this.#worker.off('error', this.#onError);
    this.#worker.off('exit', this.#onExit);
    const waiting = idle.get(this.#file) ?? [];
    idle.set(this.#file, waiting);
    for (const pending of this.#pending.values()) pending.reject(this.#dead);
    if (!closed || waiting.length >= IDLE_MAX || this.#pending.size > 0) {
      await this.#worker.terminate();
      return;
    }
    this.#worker.unref();
    waiting.push(this.#worker);
    if (collected.get(this.#worker) !== collections) collectIn(this.#worker);
  }

  #request<R>(command: string, args: unknown[]): Promise<R> {
    if (this.#dead !== null) return Promise.reject(this.#dead);
    const id = ++this.#lastId;
    this.#worker.postMessage({ id, command, args });
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
    });
  }

  #receive(result: Result): void {
    if ('event' in result) {
      this.onEvent(result.event, result.argument);
      return;
    }
    const pending = this.#pending.get(result.id);
    this.#pending.delete(result.id);
    if ('error' in result) pending?.reject(GodwitError.fromData(result.error));
    else pending?.resolve(result.value as never);
  }

  #die(cause: Error): void {
    if (this.#dead !== null) return;
    this.#dead = new GodwitError('internal', { why: cause.message }, { cause });
    for (const pending of this.#pending.values()) pending.reject(this.#dead);
    this.#pending.clear();
    this.#gone = this.#worker.terminate();
    this.onDeath(this.#dead);
  }
}

function startWorker(file: URL): Worker {
  const worker = new Worker(file, {
    // What `top -H` and a profile call the thread.
    name: basename(file.pathname, '.worker.ts'),
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_HEAP_MIB },
  });
  collected.set(worker, collections);
  // A thread that dies while nobody borrows it is only forgotten.
  worker.on('error', () => {});
  worker.once('exit', () => {
    const waiting = idle.get(file.href) ?? [];
    const at = waiting.indexOf(worker);
    if (at >= 0) waiting.splice(at, 1);
  });
  return worker;
}

/**
 * Starts threads before they are needed, one after another, so that they take little from what runs.
 *
 * @param wanted files and how many idle threads of each there should be
 */
export async function warmUp(wanted: readonly (readonly [URL, number])[]): Promise<void> {
  for (const [file, count] of wanted) {
    while ((idle.get(file.href)?.length ?? 0) < count) {
      const worker = startWorker(file);
      worker.unref();
      worker.postMessage({ id: 0, command: 'close', args: [] });
      await once(worker, 'message');
      idle.set(file.href, [...(idle.get(file.href) ?? []), worker]);
    }
  }
}

/** Ends idle threads, the oldest first, of which there are more than are kept warm. */
export async function endSurplusThreads(
  wanted: readonly (readonly [URL, number])[],
): Promise<void> {
  const surplus = wanted.flatMap(([file, count]) => {
    const waiting = idle.get(file.href) ?? [];
    return waiting.splice(0, Math.max(0, waiting.length - count));
  });
  await Promise.all(surplus.map((worker) => worker.terminate()));
}

/**
 * A guest's memory has been dropped: idle threads collect now, the others when they become idle, so that
 * no dead reference in a sleeping thread keeps it.
 */
export function collectThreads(): void {
  collections += 1;
  for (const worker of [...idle.values()].flat()) collectIn(worker);
}

function collectIn(worker: Worker): void {
  collected.set(worker, collections);
  worker.postMessage({ id: 0, command: COLLECT, args: [] });
}

/** Ends all idle threads; for the end of the process and for tests that count threads. */
export async function endIdleThreads(): Promise<void> {
  const workers = [...idle.values()].flat();
  idle.clear();
  await Promise.all(workers.map((worker) => worker.terminate()));
}

/** Worker side: answers calls with these commands. Errors go back as data. */
export function serveThread(commands: Commands): void {
  parentPort!.on('message', async ({ id, command, args }) => {
    if (command === COLLECT) return collectGarbage();
    try {
      const value = await commands[command]!(...args);
      parentPort!.postMessage({ id, value } satisfies Result);
    } catch (thrown) {
      const error = GodwitError.from(thrown).toData();
      parentPort!.postMessage({ id, error } satisfies Result);
    }
  });
}

/** Worker side: tells the main thread of something it did not ask for. */
export function postEvent(event: string, argument?: unknown): void {
  parentPort!.postMessage({ event, argument } satisfies Result);
}
