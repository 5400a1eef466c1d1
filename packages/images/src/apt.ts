/**
 * This machine's apt as a downloader for another release and architecture.
 *
 *   apt's own sources (where) + suite, architecture (what) -> [apt] -> index, packages in a directory
 *
 * apt knows the mirror, proxies and certificates of this machine, and it checks signature and digests.
 * It runs with state, cache and lists in a directory of ours, so that nothing of the machine's own apt
 * changes and no root is needed. The directory stays when something fails: apt goes on with what it has.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { delimiter, join } from 'node:path';
import { GodwitError } from '@godwit/protocol';
import { storeError } from './store.ts';

export interface AptOptions {
  /** Ours alone: lists, packages, configuration. */
  readonly directory: string;
  readonly suite: string;
  readonly component: string;
  readonly architecture: string;
  /** Public keys that must have signed it; absent: what Debian installs, where it is installed. */
  readonly keyring?: string | undefined;
  /** Instead of the machine's own sources. */
  readonly mirror?: string | undefined;
  /** For errors: the image that is being pulled. */
  readonly image: string;
  readonly signal: AbortSignal;
  /** How far the present step is. */
  onProgress(what: string, percent: number): void;
}

const KEYRINGS = [
  '/usr/share/keyrings/debian-archive-keyring.gpg',
  '/usr/share/keyrings/debian-archive-keyring.pgp',
];
/** apt's helpers for signatures, of older and newer releases. */
const VERIFIERS = ['gpgv', 'sqv'];
const OUTPUT_CHARS_MAX = 65_536;

export class Apt {
  readonly #options: AptOptions;
  /** Public keys that the release is checked with; undefined: this machine cannot check. */
  readonly keyring: string | undefined;

  constructor(options: AptOptions) {
    this.#options = options;
    this.keyring = VERIFIERS.some(isInstalled)
      ? (options.keyring ?? KEYRINGS.find((path) => existsSync(path)))
      : undefined;
    if (options.keyring !== undefined && this.keyring === undefined) {
      throw this.#failed('--keyring was given, and neither gpgv nor sqv is installed');
    }
  }

  /**
   * Fetches the release file and the index of packages from the first source that has the suite.
   * @throws GodwitError `image.pull_failed`, `image.no_space`, `image.store`
   */
  async update(): Promise<void> {
    if (!isInstalled('apt-get')) throw this.#failed('this machine has no apt-get');
    const { mirror } = this.#options;
    const sites = mirror === undefined ? await this.#sites() : [mirror];
    let failure: unknown = this.#failed("apt's configuration names no source");
    for (const site of sites) {
      try {
        await this.#prepare(site);
        await this.#run(['update'], 'index');
        return;
      } catch (thrown) {
        failure = thrown;
        if (this.#options.signal.aborted) break;
      }
    }
    throw failure;
  }

  /** The release file, as signed. */
  async release(): Promise<string> {
    return readFile(await this.#list(/_InRelease$/), 'utf8');
  }

  /** Path of the index of packages. */
  index(): Promise<string> {
    return this.#list(/_Packages$/);
  }

  /**
   * One package, of exactly this version.
   * @returns its path
   * @throws GodwitError `image.pull_failed`, `image.no_space`
   */
  async download(name: string, version: string): Promise<string> {
    await this.#run(['download', `${name}=${version}`], name);
    const file = (await readdir(this.#packages)).find((each) => each.startsWith(`${name}_`));
    if (file === undefined) throw this.#failed(`apt fetched no ${name}`);
    return join(this.#packages, file);
  }

  get #packages(): string {
    return join(this.#options.directory, 'packages');
  }

  get #config(): string {
    return join(this.#options.directory, 'apt.conf');
  }

  /** Base addresses of the machine's own sources, in apt's order. */
  async #sites(): Promise<string[]> {
    const args = ['indextargets', '--format', '$(SITE)', 'Created-By: Packages'];
    const { code, output } = await this.#spawn(args, () => {});
    const sites = output.split('\n').filter((line) => /^[a-z+]+:/.test(line));
    return code === 0 ? [...new Set(sites)] : [];
  }

  /** Read last of all configuration, so that it wins. */
  async #prepare(site: string): Promise<void> {
    const { directory, suite, component, architecture } = this.#options;
    const trust = this.keyring === undefined ? 'trusted=yes' : `signed-by=${this.keyring}`;
    const quoted = (path: string) => JSON.stringify(path);
    const config = [
      `Dir::State ${quoted(directory)};`,
      `Dir::State::lists ${quoted(join(directory, 'lists'))};`,
      `Dir::State::status ${quoted(join(directory, 'status'))};`,
      `Dir::Cache ${quoted(join(directory, 'cache'))};`,
      `Dir::Etc::sourcelist ${quoted(join(directory, 'sources.list'))};`,
      `Dir::Etc::sourceparts "/dev/null";`,
      `Dir::Etc::preferences "/dev/null";`,
      `Dir::Etc::preferencesparts "/dev/null";`,
      `APT::Architecture ${quoted(architecture)};`,
      '#clear APT::Architectures;',
      `APT::Architectures { ${quoted(architecture)}; };`,
      `APT::Sandbox::User ${quoted(userInfo().username)};`,
      '#clear APT::Update::Post-Invoke;',
      '#clear APT::Update::Post-Invoke-Success;',
      'APT::Update::Error-Mode "any";',
      'APT::Status-Fd "3";',
      'Acquire::Languages "none";',
      'Acquire::GzipIndexes "false";',
      'Acquire::Retries "3";',
    ].join('\n');
    try {
      await mkdir(join(directory, 'lists', 'partial'), { recursive: true });
      await mkdir(join(directory, 'cache', 'archives', 'partial'), { recursive: true });
      await mkdir(this.#packages, { recursive: true });
      await writeFile(join(directory, 'status'), '');
      await writeFile(
        join(directory, 'sources.list'),
        `deb [arch=${architecture} ${trust}] ${site} ${suite} ${component}\n`,
      );
      await writeFile(this.#config, `${config}\n`);
    } catch (thrown) {
      throw storeError(thrown, directory);
    }
  }

  async #list(name: RegExp): Promise<string> {
    const lists = join(this.#options.directory, 'lists');
    const file = (await readdir(lists)).find((each) => name.test(each));
    if (file === undefined) throw this.#failed(`apt left no ${name.source} in ${lists}`);
    return join(lists, file);
  }

  async #run(args: readonly string[], what: string): Promise<void> {
    const { code, output } = await this.#spawn(['-c', this.#config, ...args], (line) => {
      const percent = /^dlstatus:\d+:([\d.]+):/.exec(line)?.[1];
      if (percent !== undefined) this.#options.onProgress(what, Number(percent));
    });
    if (this.#options.signal.aborted) throw this.#failed('interrupted');
    if (code === 0) return;
    if (/no space left/i.test(output)) {
      throw new GodwitError('image.no_space', { path: this.#options.directory });
    }
    const busy = /could not get lock/i.test(output) ? 'another pull is under way' : undefined;
    const said = output.split('\n').findLast((line) => /^E: /.test(line));
    const first = output.split('\n').find((line) => /^(E|Err|W): /.test(line));
    throw this.#failed(busy ?? `apt-get ${args[0]}: ${(first ?? said ?? `exit ${code}`).slice(3)}`);
  }

  /** Runs apt-get in our directory; `onLine` gets its status lines. */
  async #spawn(
    args: readonly string[],
    onLine: (line: string) => void,
  ): Promise<{ code: number | null; output: string }> {
    const { signal } = this.#options;
    await mkdir(this.#packages, { recursive: true }).catch((thrown) => {
      throw storeError(thrown, this.#options.directory);
    });
    const child = spawn('apt-get', ['-q', ...args], {
      cwd: this.#packages,
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
    });
    let output = '';
    const keep = (text: string) => {
      output = (output + text).slice(-OUTPUT_CHARS_MAX);
    };
    child.stdout!.setEncoding('utf8').on('data', keep);
    child.stderr!.setEncoding('utf8').on('data', keep);
    let held = '';
    (child.stdio[3] as NodeJS.ReadableStream).setEncoding('utf8').on('data', (text: string) => {
      const lines = (held + text).split('\n');
      held = lines.pop() ?? '';
      for (const line of lines) onLine(line);
    });
    const stop = () => void child.kill('SIGINT');
    signal.addEventListener('abort', stop);
    try {
      return await new Promise((resolve, reject) => {
        child.once('error', (error) => reject(this.#failed(`apt-get: ${error.message}`)));
        child.once('close', (code) => resolve({ code, output }));
        if (signal.aborted) stop();
      });
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  #failed(why: string): GodwitError {
    return new GodwitError('image.pull_failed', { image: this.#options.image, why });
  }
}

function isInstalled(name: string): boolean {
  const path = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/bin', '/bin'];
  return path.some((folder) => folder !== '' && existsSync(join(folder, name)));
}
