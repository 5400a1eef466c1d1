/**
 * A coordinator as a process of its own, for tests: started, killed, started again on its port.
 * Every answer that a test gets through it is held against the schema of its route.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { errorBody, ROUTES, type Route, routeOf } from '@godwit/protocol/http-api';

const SHIFTED_CLOCK = new URL('./shifted-clock.ts', import.meta.url).href;
const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));
export const DEADLINE_MS = 15_000;

export interface ApiAnswer<T> {
  readonly status: number;
  readonly body: T & { error?: { code: string; message: string; exit: number; hint?: string } };
}

export class CoordinatorProcess {
  readonly stateDir = mkdtempSync(join(tmpdir(), 'godwit-coordinator-'));
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;
  #port = 0;
  term = 0;
  /** How wrong its wall clock is at its next start. */
  clockShiftMs = 0;

  constructor(...args: string[]) {
    this.#args = args;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async start(): Promise<void> {
    const child = spawn(process.execPath, this.#command(), {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, TEST_CLOCK_SHIFT_MS: String(this.clockShiftMs) },
    });
    this.#child = child;
    const lines = createInterface({ input: child.stdout! });
    const [line] = await Promise.race([
      once(lines, 'line') as Promise<[string]>,
      once(child, 'exit').then(([code]) => {
        throw new Error(`the coordinator ended with ${code} before it was ready`);
      }),
    ]);
    const ready = JSON.parse(line) as { url: string; term: number };
    this.#port = Number(new URL(ready.url).port);
    this.term = ready.term;
  }

  /** For a start that is to fail: how the process ended. */
  tryStart(): { status: number | null; stderr: string } {
    return spawnSync(process.execPath, this.#command(), {
      encoding: 'utf8',
      timeout: DEADLINE_MS,
    });
  }

  #command(): string[] {
    return [
      ...(this.clockShiftMs === 0 ? [] : ['--import', SHIFTED_CLOCK]),
      MAIN,
      ...['--state-dir', this.stateDir, '--listen', `127.0.0.1:${this.#port}`],
      ...['--log-file', join(this.stateDir, 'log'), '--log-level', 'debug', ...this.#args],
    ];
  }

  /** @returns the exit code, null when a signal ended it */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) {
      return child?.exitCode ?? null;
    }
    const exited = once(child, 'exit');
    child.kill(signal);
    return (await exited)[0] as number | null;
  }

  async exited(): Promise<number | null> {
    if (this.#child === undefined || this.#child.exitCode !== null) return null;
    return (await once(this.#child, 'exit'))[0] as number | null;
  }

  async dispose(): Promise<void> {
    await this.end('SIGKILL');
    rmSync(this.stateDir, { recursive: true, force: true });
  }

  async ask<T = Record<string, unknown>>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<ApiAnswer<T>> {
    const response = await fetch(this.url + path, {
      method,
      headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    const answer: unknown = await response.json();
    checkAnswer(method, path, response.status, answer);
    return { status: response.status, body: answer as ApiAnswer<T>['body'] };
  }

  /** Asks until the answer is as wished; fails with the last one. */
  async until<T>(path: string, isGood: (body: T) => boolean): Promise<T> {
    return await until(async () => (await this.ask<T>('GET', path)).body, isGood, `GET ${path}`);
  }

  arm(step: string): void {
    writeFileSync(join(this.stateDir, 'fault-point'), step);
  }

  disarm(): void {
    writeFileSync(join(this.stateDir, 'fault-point'), '');
  }

  /** Every line of its log, also those of the lives before. */
  get log(): string {
    return readFileSync(join(this.stateDir, 'log'), 'utf8');
  }

  /** Waits until the coordinator stands at `step`. */
  async reached(step: string): Promise<void> {
    const path = join(this.stateDir, 'at-step');
    const read = async () => (existsSync(path) ? readFileSync(path, 'utf8') : '');
    await until(read, (text) => text === step, `step ${step}`);
    rmSync(path);
  }
}

/** @throws Error naming the field that is not as the route table says */
export function checkAnswer(method: string, path: string, status: number, body: unknown): void {
  const id = routeOf(method, path);
  const answer = id === undefined ? undefined : (ROUTES[id] as Route).answer;
  const schema = status === 200 ? answer : errorBody;
  if (schema === undefined || typeof schema === 'string') return;
  const { error } = schema.safeParse(body);
  if (error === undefined) return;
  throw new Error(`${method} ${path} answered ${status} against its schema: ${error.message}`);
}

/** Polls with an end: the one way in which these tests wait for something they cannot await. */
export async function until<T>(
  read: () => Promise<T> | T,
  isGood: (value: T) => boolean,
  what: string,
): Promise<T> {
  const endsAtMs = performance.now() + DEADLINE_MS;
  for (;;) {
    const value = await read();
    if (isGood(value)) return value;
    if (performance.now() > endsAtMs) {
      throw new Error(`${what}: still ${JSON.stringify(value)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
