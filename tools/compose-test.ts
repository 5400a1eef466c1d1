/**
 * `npm run compose-test`: docker-compose.yml as a user meets it, on a real engine.
 *
 *   GODWIT_DOCKER_HERE=HELPER   a program that starts an engine where none runs: `HELPER up`, `HELPER down`
 *
 * Builds, starts, moves a guest between containers, kills the target's container in the middle of a round,
 * moves on to the third, brings the killed one back on its volume, restarts the coordinator, runs the demo's
 * main job across the containers, Linux included, and hands it a malformed environment and a wrong token.
 * Takes down what it made. Without an engine it says *skipped*, never *passed*.
 */
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Guest, Host, Migration } from '@godwit/protocol';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** What the file promises: healthy within a minute of `up`, the image being there. */
const HEALTHY_DEADLINE_MS = 60_000;
const STEP_DEADLINE_MS = 120_000;
/** Two guests moved twelve times, then a boot and six moves more. */
const DEMO_DEADLINE_MS = 300_000;
/** The first build installs every dependency; an engine may have to be installed first. */
const BUILD_DEADLINE_MS = 900_000;
const LOOK_MS = 200;
const HOSTS = ['a', 'b', 'c'];
const GUEST = 'w1';

interface Done {
  readonly status: number;
  readonly out: string;
}

/** Runs to its end. @throws Error with what it printed, unless `mayFail` */
function run(
  command: readonly string[],
  options: { env?: NodeJS.ProcessEnv; deadlineMs?: number; mayFail?: boolean } = {},
): Done {
  const [program, ...args] = command as [string, ...string[]];
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd: ROOT,
    encoding: 'utf8',
    env: { ...process.env, ...options.env },
    timeout: options.deadlineMs ?? STEP_DEADLINE_MS,
    maxBuffer: 64 * 1024 ** 2,
  });
  const out = `${stdout ?? ''}${stderr ?? ''}`;
  if (error !== undefined && options.mayFail !== true) throw error;
  if (status !== 0 && options.mayFail !== true) {
    throw new Error(`${command.join(' ')} ended with ${status}:\n${out.slice(-4_000)}`);
  }
  return { status: status ?? 1, out };
}

/** The engine's client, and how compose is called; undefined where there is no engine. */
function findEngine(): { docker: string; compose: readonly string[] } | undefined {
  const works = (command: readonly string[]) => run(command, { mayFail: true }).status === 0;
  const docker = ['/usr/bin/docker', 'docker'].find((each) => works([each, 'info']));
  if (docker === undefined) return undefined;
  const compose = [[docker, 'compose'], ['docker-compose']].find((each) =>
    works([...each, 'version']),
  );
  return compose && { docker, compose };
}

class ComposeTest {
  readonly #docker: string;
  readonly #compose: readonly string[];
  readonly #env: NodeJS.ProcessEnv;
  readonly #port: number;
  #token = '';

  constructor(engine: { docker: string; compose: readonly string[] }, port: number) {
    this.#docker = engine.docker;
    this.#compose = engine.compose;
    this.#port = port;
    this.#env = {
      COMPOSE_PROJECT_NAME: `godwit-test-${process.pid}`,
      GODWIT_PORT: String(port),
      GODWIT_HOST_MEMORY: '1GiB',
      GODWIT_LOG_LEVEL: 'warn',
      GODWIT_DEMO_ARGS: '--quick --linux',
    };
  }

  async run(): Promise<void> {
    this.#refusesNonsense();
    await this.#comesUp();
    this.#refusesWrongToken();
    await this.#movesBetweenContainers();
    await this.#survivesTheTargetsDeath();
    await this.#findsItsVolumes();
    this.#runsTheDemo();
  }

  close(): void {
    this.#ask(['--profile', 'demo', 'down', '--volumes', '--timeout', '2'], { mayFail: true });
  }

  logs(): string {
    return this.#ask(['logs', '--no-color', '--tail', '40'], { mayFail: true }).out;
  }

  build(): void {
    this.#ask(['build', 'coordinator'], { deadlineMs: BUILD_DEADLINE_MS });
  }

  // ---------------------------------------------------------------------------------- the steps

  #refusesNonsense(): void {
    const env = { GODWIT_HOST_MEMORY: 'plenty' };
    const { status, out } = this.#ask(['run', '--rm', '--no-deps', 'a'], { env, mayFail: true });
    expect(status === 2 && /error: .*'plenty'/.test(out), `a malformed environment:\n${out}`);
    say('a size that is none: exit 2 and what is wrong with it');
    const port = { env: { GODWIT_PORT: 'abc' }, mayFail: true };
    const config = this.#ask(['config'], port);
    // Some versions quote the value, others name the service and its ports.
    const isNamed = /abc|services\.coordinator\.ports/.test(config.out);
    expect(config.status !== 0 && isNamed, `a port that is none:\n${config.out}`);
    say('a port that is none: refused by compose, before anything starts');
  }

  async #comesUp(): Promise<void> {
    const startedAtMs = performance.now();
    this.#ask(['up', '--detach', '--no-build', 'coordinator', ...HOSTS]);
    await until('four containers are healthy', HEALTHY_DEADLINE_MS, () => {
      const health = ['coordinator', ...HOSTS].map((name) => this.#health(name));
      return health.every((each) => each === 'healthy') || health.join();
    });
    const tookS = (performance.now() - startedAtMs) / 1000;
    this.#token = this.#exec('coordinator', ['cat', '/run/godwit/token']).trim();
    expect(/^[0-9a-f]{64}$/.test(this.#token), 'the token was made');
    const user = this.#exec('coordinator', ['id', '-u']).trim();
    expect(user !== '0', `nothing runs as root, found user ${user}`);
    say(`healthy ${tookS.toFixed(1)} s after up; a token of its own; user ${user}`);
    await this.#hostsConnected();
  }

  #refusesWrongToken(): void {
    const wrong = ['run', '--rm', '--no-deps', '-e', 'GODWIT_TOKEN=not-the-token', 'a'];
    const { status, out } = this.#ask([...wrong, 'host', 'ls'], { mayFail: true });
    expect(status !== 0 && /error: .*token/.test(out), `a wrong token:\n${out}`);
    say('a wrong token: refused by name');
  }

  async #movesBetweenContainers(): Promise<void> {
    this.#godwit(
      ...['guest', 'create', GUEST, '--host', 'a', '--memory', '64MiB'],
      ...['--workload', 'hotset', '--hot', '8MiB', '--rate', '5MiB/s'],
    );
    this.#godwit('guest', 'migrate', GUEST, '--to', 'b', '--verify');
    expect((await this.#guest()).host === 'b', 'it runs on b');
    say('a guest moved from a to b, verified');
  }

  async #survivesTheTargetsDeath(): Promise<void> {
    const id = this.#godwit(
      ...['guest', 'migrate', GUEST, '--to', 'c', '--detach', '--mode', 'precopy'],
      ...['--max-bandwidth', '2MiB/s'],
    ).match(/m-\w+/)![0];
    const round = await until('a round is under way', STEP_DEADLINE_MS, async () => {
      const { state, progress } = await this.#get<Migration>(`/v1/migrations/${id}`);
      return (state === 'rounds' && (progress?.pagesSent ?? 0) > 0) || state;
    });
    expect(round, 'in the middle of a round');
    const { writes } = await this.#guest();
    run([this.#docker, 'kill', '--signal', 'KILL', this.#container('c')]);
    const view = await until('the move is given up', STEP_DEADLINE_MS, async () => {
      const now = await this.#get<Migration>(`/v1/migrations/${id}`);
      return now.endedAtMs === undefined ? now.state : now;
    });
    expect((view as Migration).state === 'failed', `it failed: ${(view as Migration).state}`);
    await until('the guest runs on at its source', STEP_DEADLINE_MS, async () => {
      const now = await this.#guest();
      return (now.host === 'b' && now.state === 'running' && now.writes > writes) || now.state;
    });
    this.#godwit('guest', 'migrate', GUEST, '--to', 'a', '--verify');
    this.#godwit('guest', 'audit', GUEST);
    say(`kill -9 of the target's container in a round: it ran on at b, moved to a, lost nothing`);
  }

  async #findsItsVolumes(): Promise<void> {
    run([this.#docker, 'start', this.#container('c')]);
    await this.#hostsConnected();
    this.#ask(['restart', '--timeout', '10', 'coordinator']);
    await until('the coordinator is healthy again', HEALTHY_DEADLINE_MS, () => {
      const health = this.#health('coordinator');
      return health === 'healthy' || health;
    });
    await this.#hostsConnected();
    this.#godwit('guest', 'migrate', GUEST, '--to', 'c', '--verify');
    this.#godwit('guest', 'audit', GUEST);
    this.#godwit('guest', 'stop', GUEST);
    this.#godwit('guest', 'rm', GUEST);
    say(
      'the killed container and the coordinator came back on their volumes; the guest moved to c',
    );
  }

  #runsTheDemo(): void {
    const deadlineMs = DEMO_DEADLINE_MS;
    const { out } = this.#ask(['--profile', 'demo', 'run', '--rm', 'demo'], { deadlineMs });
    const last = out.trim().split('\n').slice(-14).join('\n');
    say(`the demo across containers ended with 0:\n${last.replace(/^/gm, '    ')}`);
  }

  // ------------------------------------------------------------------------------------ its hands

  #ask(args: readonly string[], options: Parameters<typeof run>[1] = {}): Done {
    return run([...this.#compose, ...args], {
      ...options,
      env: { ...this.#env, ...options.env },
    });
  }

  #exec(service: string, command: readonly string[]): string {
    return this.#ask(['exec', '-T', service, ...command]).out;
  }

  #godwit(...args: string[]): string {
    return this.#exec('coordinator', ['godwit', ...args]);
  }

  #container(service: string): string {
    return (
      this.#ask(['ps', '-q', '--all', service], { mayFail: true }).out.trim() || this.#v1(service)
    );
  }

  /** The older compose has no --all and shows stopped containers anyway. */
  #v1(service: string): string {
    return this.#ask(['ps', '-q', service]).out.trim();
  }

  #health(service: string): string {
    const format = '{{.State.Health.Status}}';
    const inspect = [this.#docker, 'inspect', '--format', format, this.#container(service)];
    return run(inspect, { mayFail: true }).out.trim();
  }

  async #get<T>(path: string): Promise<T> {
    const response = await fetch(`http://127.0.0.1:${this.#port}${path}`, {
      headers: { authorization: `Bearer ${this.#token}` },
      signal: AbortSignal.timeout(STEP_DEADLINE_MS),
    });
    return (await response.json()) as T;
  }

  #guest(): Promise<Guest> {
    return this.#get<Guest>(`/v1/guests/${GUEST}`);
  }

  async #hostsConnected(): Promise<void> {
    await until('three hosts are connected', HEALTHY_DEADLINE_MS, async () => {
      const hosts = await this.#get<Host[]>('/v1/hosts').catch(() => []);
      const up = hosts.filter((host) => host.state === 'connected').length;
      return up === HOSTS.length || `${up} connected`;
    });
  }
}

/** Looks until the answer is no text; a text says what is still missing. */
async function until<T>(
  what: string,
  deadlineMs: number,
  look: () => Promise<T | string> | T | string,
): Promise<T> {
  const endsAtMs = performance.now() + deadlineMs;
  for (;;) {
    const found = await look();
    if (typeof found !== 'string') return found;
    if (performance.now() > endsAtMs) throw new Error(`still waiting until ${what}: ${found}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

function expect(isSo: unknown, what: string): void {
  if (!isSo) throw new Error(`not so: ${what}`);
}

function say(text: string): void {
  process.stdout.write(`ok  ${text}\n`);
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

async function main(): Promise<number> {
  const helper = process.env.GODWIT_DOCKER_HERE;
  const wasUp = findEngine() !== undefined;
  if (helper) run([helper, 'up'], { deadlineMs: BUILD_DEADLINE_MS });
  const engine = findEngine();
  if (engine === undefined) {
    process.stdout.write('skipped: no container engine answers (docker info, docker compose)\n');
    return 0;
  }
  const startedAtMs = performance.now();
  const test = new ComposeTest(engine, await freePort());
  try {
    test.build();
    say(`built in ${((performance.now() - startedAtMs) / 1000).toFixed(0)} s`);
    await test.run();
    const tookS = (performance.now() - startedAtMs) / 1000;
    process.stdout.write(`passed in ${tookS.toFixed(0)} s\n`);
    return 0;
  } catch (thrown) {
    process.stderr.write(`${test.logs()}\nfailed: ${(thrown as Error).message}\n`);
    return 1;
  } finally {
    test.close();
    if (helper && !wasUp) run([helper, 'down'], { mayFail: true });
  }
}

process.exitCode = await main();
