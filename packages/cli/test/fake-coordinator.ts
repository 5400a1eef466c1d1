/**
 * A coordinator for tests of the command line: answers the API from tables, so that every error, every
 * state and every order of events can be had at once and without guests.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  ERRORS,
  type ErrorCode,
  type EventData,
  GodwitError,
  type Guest,
  type GuestDetail,
  type Host,
  type Migration,
  type Prediction,
} from '@godwit/protocol';
import { WebSocketServer } from 'ws';

type Answer = (body: unknown, url: URL) => unknown;

const HTTP_STATUS: Readonly<Record<number, number>> = { 2: 400, 3: 404, 4: 409, 5: 503, 124: 504 };

export class FakeCoordinator {
  readonly #server: Server;
  readonly #sockets = new WebSocketServer({ noServer: true });
  readonly #answers = new Map<string, Answer>();
  readonly #updates = new Map<string, Migration[]>();
  readonly asked: { method: string; path: string; body: unknown; authorization?: string }[] = [];
  #events: string[] = [];
  token: string | undefined;

  private constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.on('upgrade', (request, socket, head) => {
      const id = /^\/v1\/migrations\/(.+)\/watch$/.exec(request.url ?? '')?.[1] ?? '';
      this.#sockets.handleUpgrade(request, socket, head, (client) => {
        for (const update of this.#updates.get(id) ?? []) client.send(JSON.stringify(update));
        client.close();
      });
    });
    this.on('GET /v1/hosts', () => [aHost('a'), aHost('b'), aHost('c')]);
  }

  static async start(): Promise<FakeCoordinator> {
    const fake = new FakeCoordinator();
    await new Promise<void>((resolve) => fake.#server.listen(0, '127.0.0.1', resolve));
    return fake;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** @param route "GET /v1/guests/web1"; the answer's return value is sent, an error thrown too */
  on(route: string, answer: Answer): this {
    this.#answers.set(route, answer);
    return this;
  }

  fails(route: string, error: GodwitError): this {
    return this.on(route, () => {
      throw error;
    });
  }

  /** What the watch stream of this migration says; GET gives the first of it. */
  watch(updates: Migration[]): this {
    const id = updates[0]!.id;
    this.#updates.set(id, updates);
    return this.on(`GET /v1/migrations/${id}`, () => updates[0]);
  }

  /** What the event stream says, one after the other; then it stays open. */
  events(events: { event: 'snapshot' | 'change'; data: Partial<EventData> }[]): this {
    this.#events = events.map(({ event, data }, i) => {
      const none = { hosts: [], guests: [], migrations: [], drains: [] };
      const whole: EventData = { revision: i + 1, atMs: 0, ...none, gone: none, ...data };
      return `event: ${event}\nid: 1.${i + 1}\ndata: ${JSON.stringify(whole)}\n\n`;
    });
    return this;
  }

  async stop(): Promise<void> {
    this.#sockets.close();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks = await request.toArray();
    const text = Buffer.concat(chunks).toString('utf8');
    const body: unknown = text === '' ? undefined : JSON.parse(text);
    const url = new URL(request.url ?? '/', this.url);
    const { authorization } = request.headers;
    this.asked.push({
      method: request.method ?? '',
      path: url.pathname + url.search,
      body,
      ...(authorization !== undefined && { authorization }),
    });
    try {
      if (this.token !== undefined && authorization !== `Bearer ${this.token}`) {
        throw new GodwitError('auth.token', { why: 'none was given' });
      }
      if (url.pathname === '/v1/events') {
        const seen = Number(url.searchParams.get('since')?.split('.')[1] ?? 0);
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write(`:\n\n${this.#events.slice(seen).join('')}`);
        return;
      }
      const answer = this.#answers.get(`${request.method} ${url.pathname}`);
      if (answer === undefined) throw new Error(`no answer for ${request.method} ${url.pathname}`);
      send(response, 200, answer(body, url));
    } catch (thrown) {
      const { code, message, hint, detail, exit } = GodwitError.from(thrown);
      send(response, HTTP_STATUS[exit] ?? 500, { error: { code, message, hint, detail, exit } });
    }
  }
}

function send(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

/** Every error of the protocol's table can come from a coordinator; details are made up. */
export function errorOf(code: ErrorCode, detail: Record<string, unknown>): GodwitError {
  if (!Object.hasOwn(ERRORS, code)) throw new Error(`no error ${code}`);
  return GodwitError.fromData({ code, detail });
}

export function aHost(name: string, more: Partial<Host> = {}): Host {
  return {
    name,
    state: 'connected',
    address: `127.0.0.1:74${10 + name.charCodeAt(0) - 96}`,
    incarnation: '91c204fe',
    pid: 4242,
    cores: 2,
    memoryBytes: 6 * 1024 ** 3,
    freeBytes: 5 * 1024 ** 3,
    rssBytes: 200 * 1024 ** 2,
    poolBytes: 0,
    descriptors: 24,
    guests: 1,
    lastHeardAtMs: Date.now(),
    supervised: true,
    promisedBytes: 0,
    moves: 0,
    movesQueued: 0,
    ...more,
  };
}

export function aGuest(name: string, more: Partial<Guest> = {}): Guest {
  return {
    name,
    kind: 'machine',
    host: 'a',
    state: 'running',
    epoch: 1,
    memoryBytes: 256 * 1024 ** 2,
    harts: 1,
    clock: 'host',
    image: 'hello',
    dirtyBytesPerS: 1.2 * 1024 ** 2,
    workingSetBytes: 38 * 1024 ** 2,
    instructions: 1_000_000,
    writes: 0,
    witnessWrites: 0,
    createdAtMs: Date.now() - 250_000,
    ...more,
  };
}

export function aGuestDetail(name: string, more: Partial<GuestDetail> = {}): GuestDetail {
  const spec = {
    name,
    kind: 'machine',
    memoryBytes: 256 * 1024 ** 2,
    harts: 1,
    clock: 'host',
  } as const;
  return {
    ...aGuest(name),
    spec: spec as GuestDetail['spec'],
    holders: [],
    verdict: { epoch: 1, owner: 'none' },
    ...more,
  };
}

export function aMigration(more: Partial<Migration> = {}): Migration {
  return {
    id: 'm-7q3f',
    guest: 'mem1',
    kind: 'workload',
    source: 'b',
    target: 'c',
    mode: 'hybrid',
    state: 'rounds',
    epoch: 1,
    channels: 2,
    maxBandwidthBytesPerS: 0,
    maxDowntimeMs: 300,
    throttle: false,
    verify: true,
    memoryBytes: 1024 ** 3,
    priority: 'normal',
    queuedAtMs: Date.UTC(2026, 10, 22, 12, 3, 11),
    startedAtMs: Date.UTC(2026, 10, 22, 12, 3, 11),
    sourcePhase: 'rounds',
    targetPhase: 'landing',
    rounds: [],
    decisions: [],
    phases: [],
    ...more,
  };
}

export function aPrediction(more: Partial<Prediction> = {}): Prediction {
  return {
    totalMs: 440,
    downtimeMs: 3.1,
    bytes: 1024 ** 3,
    rounds: 2,
    verifyMs: 0,
    basis: ['dirty 50 MB/s, working set 64 MiB, measured at b', 'link 2.4 GB/s, measured'],
    ...more,
  };
}

export function aResult(more: Partial<NonNullable<Migration['result']>> = {}) {
  return {
    rounds: 2,
    pages: 267_488,
    zeroPages: 31_457,
    bytes: 1.03 * 1024 ** 3,
    copiedBytes: 0,
    gbps: 2.4,
    totalMs: 460,
    transferMs: 440,
    reservedMs: 12,
    downtimeMs: 3.4,
    steps: { stopMs: 0.2, lastPagesMs: 1.1, stateMs: 0.3, landedMs: 0.6, runMs: 1.2 },
    clockOffsetMs: 0,
    clockErrorMs: 0.05,
    verifyMs: 90,
    verified: true,
    faults: 0,
    faultP50Us: 0,
    faultP99Us: 0,
    longestStallMs: 0,
    ...more,
  };
}
