/**
 * The coordinator's HTTP API as functions; types and errors are the protocol's.
 *
 * command -> [api client] -> coordinator. Every request has a deadline. A failure is a CommandError
 * with the coordinator's own code, text and hint, or `coordinator.unreachable`.
 */
import {
  API_VERSION,
  API_VERSION_HEADER,
  type AuditResult,
  type CheckpointResult,
  type ConsoleAddress,
  type CreateGuestRequest,
  type Drain,
  type DrainPlan,
  type DrainRequest,
  GodwitError,
  type Guest,
  type GuestDetail,
  type Host,
  type Image,
  type LimitsRequest,
  type MigrateRequest,
  type Migration,
  type MoveLimits,
  type MovePlan,
  type Recovery,
  type RestoreGuestRequest,
  type Status,
} from '@godwit/protocol';
import { CommandError, EXIT, errnoText } from './errors.ts';
import { type HttpAnswer, type HttpRequest, httpRequest } from './http-request.ts';

/** Ordinary questions are answered from memory. */
const ASK_DEADLINE_MS = 15_000;
/** Creating fills up to 3.75 GiB, an audit reads as much; both on a machine that may be busy. */
const WORK_DEADLINE_MS = 120_000;
/** A watcher whose coordinator restarts tries again for this long. */
export const WATCH_PATIENCE_MS = 30_000;
export const WATCH_AGAIN_MS = 250;

export interface ApiOptions {
  readonly url: string;
  readonly token?: string | undefined;
}

export class ApiClient {
  readonly url: string;
  readonly #token: string | undefined;

  /** @throws CommandError usage: not an http or https address */
  constructor(options: ApiOptions) {
    this.url = options.url.replace(/\/+$/, '');
    this.#token = options.token;
    const parsed = URL.canParse(this.url) ? new URL(this.url) : undefined;
    if (parsed?.protocol !== 'http:' && parsed?.protocol !== 'https:') {
      throw new CommandError({
        code: 'usage',
        exit: EXIT.usage,
        message: `'${options.url}' is not the address of a coordinator`,
        hint: 'it looks like http://127.0.0.1:7400',
      });
    }
  }

  /** What every request of ours carries. */
  get headers(): { [API_VERSION_HEADER]: string; authorization?: string } {
    return {
      [API_VERSION_HEADER]: String(API_VERSION),
      ...(this.#token !== undefined && { authorization: `Bearer ${this.#token}` }),
    };
  }

  status = () => this.#ask<Status>('GET', '/v1/status');
  recovery = () => this.#ask<Recovery>('GET', '/v1/recovery');
  recover = () => this.#ask<Recovery>('POST', '/v1/recovery');
  hosts = () => this.#ask<Host[]>('GET', '/v1/hosts');
  host = (host: string) => this.#ask<Host>('GET', `/v1/hosts/${part(host)}`);
  fence = (host: string, discardTarget: boolean) =>
    this.#ask<{ lost: string[] }>('POST', `/v1/hosts/${part(host)}/fence`, {
      body: { confirm: true, discardTarget },
    });
  cordon = (host: string, reason: string) =>
    this.#ask<Host>('POST', `/v1/hosts/${part(host)}/cordon`, { body: { reason } });
  uncordon = (host: string) => this.#ask<Host>('POST', `/v1/hosts/${part(host)}/uncordon`);
  planDrain = (host: string, kind: Drain['kind'], body: DrainRequest) =>
    this.#ask<DrainPlan>('POST', `/v1/hosts/${part(host)}/${kind}/plan`, { body });
  startDrain = (host: string, kind: Drain['kind'], body: DrainRequest) =>
    this.#ask<Drain>('POST', `/v1/hosts/${part(host)}/${kind}`, { body });
  drain = (host: string) => this.#ask<Drain>('GET', `/v1/hosts/${part(host)}/drain`);
  drains = () => this.#ask<Drain[]>('GET', '/v1/drains');
  cancelDrain = (host: string) => this.#ask<Drain>('POST', `/v1/hosts/${part(host)}/drain/cancel`);
  images = () => this.#ask<Image[]>('GET', '/v1/images');
  guests = () => this.#ask<Guest[]>('GET', '/v1/guests');
  guest = (guest: string) => this.#ask<GuestDetail>('GET', `/v1/guests/${part(guest)}`);
  createGuest = (body: CreateGuestRequest) =>
    this.#ask<Guest>('POST', '/v1/guests', { body, deadlineMs: WORK_DEADLINE_MS });
  stopGuest = (guest: string) => this.#ask<Guest>('POST', `/v1/guests/${part(guest)}/stop`);
  removeGuest = (guest: string) => this.#ask<object>('DELETE', `/v1/guests/${part(guest)}`);
  discardGuest = (guest: string, host: string) =>
    this.#ask<object>('POST', `/v1/guests/${part(guest)}/discard`, { body: { host } });
  auditGuest = (guest: string) =>
    this.#ask<AuditResult>('POST', `/v1/guests/${part(guest)}/audit`, {
      deadlineMs: WORK_DEADLINE_MS,
    });
  checkpointGuest = (guest: string, checkpoint: string) =>
    this.#ask<CheckpointResult>('POST', `/v1/guests/${part(guest)}/checkpoint`, {
      body: { checkpoint },
      deadlineMs: WORK_DEADLINE_MS,
    });
  restoreGuest = (checkpoint: string, body: RestoreGuestRequest) =>
    this.#ask<Guest>('POST', `/v1/checkpoints/${part(checkpoint)}/restore`, {
      body,
      deadlineMs: WORK_DEADLINE_MS,
    });
  setRate = (guest: string, rateMiBps: number | null) =>
    this.#ask<Guest>('POST', `/v1/guests/${part(guest)}/rate`, { body: { rateMiBps } });
  consoleAddress = (guest: string, deadlineMs = ASK_DEADLINE_MS) =>
    this.#ask<ConsoleAddress>('GET', `/v1/guests/${part(guest)}/console`, { deadlineMs });
  migrate = (body: MigrateRequest) =>
    this.#ask<Migration>('POST', '/v1/migrations', { body, deadlineMs: WORK_DEADLINE_MS });
  planMigration = (body: MigrateRequest) =>
    this.#ask<MovePlan>('POST', '/v1/migrations/plan', { body });
  limits = () => this.#ask<MoveLimits>('GET', '/v1/limits');
  setLimits = (body: LimitsRequest) => this.#ask<MoveLimits>('POST', '/v1/limits', { body });
  migrations = (filter: { guest?: string; open?: boolean } = {}) => {
    const query = new URLSearchParams();
    if (filter.guest !== undefined) query.set('guest', filter.guest);
    if (filter.open) query.set('open', 'true');
    return this.#ask<Migration[]>('GET', `/v1/migrations${query.size > 0 ? `?${query}` : ''}`);
  };
  migration = (id: string) => this.#ask<Migration>('GET', `/v1/migrations/${part(id)}`);
  cancelMigration = (id: string) =>
    this.#ask<Migration>('POST', `/v1/migrations/${part(id)}/cancel`);
  shutdown = () => this.#ask<object>('POST', '/v1/shutdown', { deadlineMs: WORK_DEADLINE_MS });

  /**
   * The migration at every change, until it ended. Survives a coordinator that restarts.
   * @throws CommandError `migration.not_found`, `coordinator.unreachable` after 30 s without one
   */
  async *watchMigration(id: string, signal: AbortSignal): AsyncGenerator<Migration> {
    let patienceEndsMs = performance.now() + WATCH_PATIENCE_MS;
    while (!signal.aborted) {
      try {
        const now = await this.migration(id);
        yield now;
        if (hasEnded(now)) return;
        for await (const update of this.#watchOnce(id, signal)) {
          patienceEndsMs = performance.now() + WATCH_PATIENCE_MS;
          yield update;
          if (hasEnded(update)) return;
        }
      } catch (error) {
        if (!isAway(error) || performance.now() > patienceEndsMs) throw error;
      }
      await pause(WATCH_AGAIN_MS, signal);
    }
  }

  /**
   * The drain at every look, until it ended. Survives a coordinator that restarts.
   * @throws CommandError `drain.not_found`, `coordinator.unreachable` after 30 s without one
   */
  async *watchDrain(host: string, signal: AbortSignal): AsyncGenerator<Drain> {
    let patienceEndsMs = performance.now() + WATCH_PATIENCE_MS;
    while (!signal.aborted) {
      try {
        const now = await this.drain(host);
        patienceEndsMs = performance.now() + WATCH_PATIENCE_MS;
        yield now;
        if (now.endedAtMs !== undefined) return;
      } catch (error) {
        if (!isAway(error) || performance.now() > patienceEndsMs) throw error;
      }
      await pause(WATCH_AGAIN_MS, signal);
    }
  }

  /**
   * The text of one event stream, as it comes.
   * @param since id of the last event seen
   * @throws CommandError what the coordinator answered; `coordinator.unreachable`
   */
  async openEvents(
    kinds: readonly string[],
    since: string | undefined,
    signal: AbortSignal,
  ): Promise<AsyncIterable<string>> {
    const query = new URLSearchParams({ kinds: kinds.join(','), ...(since && { since }) });
    const path = `/v1/events?${query}`;
    let answer: HttpAnswer;
    try {
      answer = await httpRequest({ url: this.url + path, headers: this.headers, signal });
    } catch (cause) {
      throw this.#connectionError(cause, `GET ${path}`, 0);
    }
    checkVersion(answer);
    if (answer.ok) return answer.chunks();
    throw apiError(parseJson(await answer.text()), answer.status, this.url);
  }

  /** One WebSocket's worth of updates; ends quietly when the connection does. */
  async *#watchOnce(id: string, signal: AbortSignal): AsyncGenerator<Migration> {
    const url = `${this.url.replace(/^http/, 'ws')}/v1/migrations/${part(id)}/watch`;
    // Most commands need no WebSocket, and its library brings half of Node's network along.
    const { WebSocket } = await import('ws');
    const socket = new WebSocket(url, { headers: this.headers });
    const queue: (Migration | null)[] = [];
    let wake = () => {};
    const push = (item: Migration | null) => {
      queue.push(item);
      wake();
    };
    const abort = () => socket.close();
    socket.on('message', (data: Buffer) => push(JSON.parse(data.toString('utf8')) as Migration));
    socket.on('close', () => push(null));
    socket.on('error', () => {}); // 'close' follows; the caller asks over HTTP and learns why.
    signal.addEventListener('abort', abort);
    try {
      for (;;) {
        const item = queue.shift();
        if (item === null) return;
        if (item !== undefined) yield item;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      signal.removeEventListener('abort', abort);
      socket.terminate();
    }
  }

  async #ask<T>(
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    options: { body?: object; deadlineMs?: number } = {},
  ): Promise<T> {
    const deadlineMs = options.deadlineMs ?? ASK_DEADLINE_MS;
    const request: HttpRequest = {
      url: this.url + path,
      method,
      headers: this.headers,
      signal: AbortSignal.timeout(deadlineMs),
      ...(options.body !== undefined && {
        headers: { ...this.headers, 'content-type': 'application/json' },
        body: JSON.stringify(options.body),
      }),
    };
    let answer: HttpAnswer;
    let text: string;
    try {
      answer = await httpRequest(request);
      text = await answer.text();
    } catch (cause) {
      throw this.#connectionError(cause, `${method} ${path}`, deadlineMs);
    }
    checkVersion(answer);
    const value = parseJson(text);
    if (answer.ok && value !== undefined) return value as T;
    throw apiError(value, answer.status, this.url);
  }

  #connectionError(cause: unknown, what: string, afterMs: number): GodwitError {
    if (cause instanceof Error && cause.name === 'TimeoutError') {
      return new GodwitError('request.timed_out', { what, afterMs }, { cause });
    }
    const why = errnoText((cause as NodeJS.ErrnoException).code);
    return new GodwitError('coordinator.unreachable', { address: this.url, why }, { cause });
  }
}

/** Nobody answered: a coordinator that is started again will. */
function isAway(error: unknown): boolean {
  return CommandError.from(error).exit === EXIT.unreachable;
}

const ENDED: ReadonlySet<Migration['state']> = new Set([
  'completed',
  'failed',
  'cancelled',
  'lost',
]);

export function hasEnded(migration: Migration): boolean {
  return ENDED.has(migration.state);
}

/** @throws GodwitError `api.version`: whatever it answered may not mean what we read */
function checkVersion(answer: HttpAnswer): void {
  const spoken = answer.headers[API_VERSION_HEADER];
  if (spoken === undefined || spoken === String(API_VERSION)) return;
  answer.close();
  throw new GodwitError('api.version', { asked: String(API_VERSION), spoken: Number(spoken) });
}

/** The server's own words win over ours: it may be a newer release with codes unknown here. */
function apiError(value: unknown, status: number, url: string): CommandError {
  const error = (value as { error?: Record<string, unknown> } | undefined)?.error;
  if (typeof error?.code !== 'string' || typeof error.message !== 'string') {
    return new CommandError({
      code: 'coordinator.unreachable',
      exit: EXIT.unreachable,
      message: `no coordinator at ${url}: something else answers there (HTTP ${status})`,
      hint: 'start one with godwit up, or give --coordinator URL',
    });
  }
  const { code, message, hint, exit } = error;
  return new CommandError({
    code,
    message,
    exit: typeof exit === 'number' ? exit : EXIT.failed,
    hint: typeof hint === 'string' ? hint : undefined,
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function part(text: string): string {
  return encodeURIComponent(text);
}

/** Waits, or less when aborted. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (signal?.aborted) done();
    else signal?.addEventListener('abort', done);
  });
}
