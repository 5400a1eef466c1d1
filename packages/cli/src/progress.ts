/**
 * A migration as it happens: a line for each round, a bar below them on a terminal, the outcome.
 *
 * coordinator's watch stream -> [progress] -> terminal or pipe. The bar is redrawn in place; a pipe
 * gets whole lines only, at most one a second between rounds. Ctrl-C stops watching, not the job.
 */
import { ERRORS, type ErrorCode, type Migration, PAGE_BYTES } from '@godwit/protocol';
import { type ApiClient, hasEnded } from './api-client.ts';
import { CommandError, EXIT } from './errors.ts';
import { bytesText, countText, durationText, linkText } from './format.ts';
import type { Io } from './io.ts';
import { headText, outcomeLines, roundText } from './migration-text.ts';
import { jsonDocument, jsonLine } from './output.ts';

const BAR_CELLS = 40;
const PLAIN_EVERY_MS = 1_000;
const ETA_SHOWN_MS = 20;

/** Draws one migration; knows what it has drawn. Used by the commands and by the demo. */
export class MigrationView {
  readonly #write: (text: string) => void;
  readonly #isTty: boolean;
  readonly #columns: () => number;
  #hasHead = false;
  #roundsShown = 0;
  #hasBar = false;
  #lastPlainAtMs = Number.NEGATIVE_INFINITY;
  #doubtShown = false;
  #waitShown = '';
  /** The figure shown never grows, whatever arrives, unless the rounds were given up for post-copy. */
  #etaMs = Number.POSITIVE_INFINITY;
  #isPull = false;

  constructor(screen: { write: (text: string) => void; isTty: boolean; columns: () => number }) {
    this.#write = screen.write;
    this.#isTty = screen.isTty;
    this.#columns = screen.columns;
  }

  update(m: Migration, nowMs = performance.now()): void {
    if (!this.#hasHead) this.#line(headText(m));
    this.#hasHead = true;
    this.#showWait(m);
    this.#showRounds(m);
    if (m.state === 'doubt' && !this.#doubtShown) {
      this.#doubtShown = true;
      this.#line(`  in doubt: who owns ${m.guest} is being asked; godwit guest show ${m.guest}`);
    }
    if (hasEnded(m)) {
      this.#clearBar();
      for (const line of outcomeLines(m)) this.#line(line);
    } else if (m.progress !== undefined) {
      this.#showProgress(m, m.progress, nowMs);
    }
  }

  /** Leaves the terminal in order when the view stops before the migration does. */
  stop(): void {
    this.#clearBar();
  }

  /** A line whenever the reason changes; the place in line alone is not worth one. */
  #showWait({ queue }: Migration): void {
    if (queue === undefined || queue.reason === this.#waitShown) return;
    this.#waitShown = queue.reason;
    this.#line(`  waits, ${queue.position} of ${queue.of} in line: ${queue.reason}`);
  }

  #showRounds(m: Migration): void {
    for (; this.#roundsShown < m.rounds.length; this.#roundsShown++) {
      const round = m.rounds[this.#roundsShown]!;
      const isDecided = m.decisions.some((decision) => decision.round === round.round);
      const isLast = this.#roundsShown === m.rounds.length - 1;
      // The decision is part of the line and follows the report by a moment.
      if (isLast && !isDecided && !hasEnded(m)) return;
      if (round.pages > 0 || m.mode !== 'postcopy') this.#line(roundText(m, round, PAGE_BYTES));
    }
  }

  #showProgress(m: Migration, p: NonNullable<Migration['progress']>, nowMs: number): void {
    const isPull = m.decisions.some(({ action }) => action === 'postcopy');
    if (isPull !== this.#isPull) this.#etaMs = Number.POSITIVE_INFINITY;
    this.#isPull = isPull;
    if (p.etaMs !== undefined) this.#etaMs = Math.min(this.#etaMs, p.etaMs);
    const text = progressText(m, p, this.#etaMs);
    if (this.#isTty) {
      const filled = Math.round((BAR_CELLS * Math.min(100, p.percent)) / 100);
      const bar = `[${'#'.repeat(filled)}${'.'.repeat(BAR_CELLS - filled)}]`;
      this.#write(`\r\x1b[K${`${bar} ${text}`.slice(0, this.#columns() - 1)}`);
      this.#hasBar = true;
    } else if (p.percent > 0 && nowMs - this.#lastPlainAtMs >= PLAIN_EVERY_MS) {
      this.#lastPlainAtMs = nowMs;
      this.#line(`  ${text}`);
    }
  }

  #line(text: string): void {
    this.#clearBar();
    this.#write(`${text}\n`);
  }

  #clearBar(): void {
    if (this.#hasBar) this.#write('\r\x1b[K');
    this.#hasBar = false;
  }
}

function progressText(m: Migration, p: NonNullable<Migration['progress']>, etaMs: number): string {
  const parts = [`${Math.floor(p.percent)} %`.padStart(5), linkText(p.bytesPerS)];
  if (m.state === 'postcopy') {
    parts.push(
      `${bytesText(p.remainingPages * PAGE_BYTES)} to pull`,
      `${countText(p.faults)} faults`,
    );
  }
  // "About 0 ms left" for seconds on end, as when post-copy waits for a last page, helps nobody.
  if (etaMs >= ETA_SHOWN_MS && Number.isFinite(etaMs)) {
    const [low, high] = (p.etaRangeMs ?? [0, 0]).map(durationText);
    parts.push(`about ${durationText(etaMs)} left${low === high ? '' : `  (${low}..${high})`}`);
  }
  return parts.join('  ');
}

/**
 * Follows a migration to its end.
 * @param form `text` for people; `stream` one JSON object a change; `document` the last one only
 * @returns 0 when it completed, 130 when the watcher was interrupted
 * @throws CommandError with the migration's own error when it did not complete
 */
export async function followMigration(
  io: Io,
  api: ApiClient,
  id: string,
  form: 'text' | 'stream' | 'document',
): Promise<number> {
  const stop = new AbortController();
  const release = io.onSignal(() => stop.abort());
  const view = new MigrationView({
    write: (text) => io.out(text),
    isTty: io.outIsTty,
    columns: io.columns,
  });
  let last: Migration | undefined;
  try {
    for await (const update of api.watchMigration(id, stop.signal)) {
      last = update;
      if (form === 'text') view.update(update);
      if (form === 'stream') io.out(jsonLine(update));
    }
  } finally {
    view.stop();
    release();
  }
  if (last === undefined || !hasEnded(last)) {
    io.err(`stopped watching; the migration goes on. Again: godwit migration watch ${id}\n`);
    return EXIT.interrupted;
  }
  if (form === 'document') io.out(jsonDocument(last));
  return outcome(last);
}

function outcome(m: Migration): number {
  if (m.state === 'completed') return EXIT.ok;
  const code = m.error?.code ?? `migration.${m.state}`;
  throw new CommandError({
    code,
    exit: Object.hasOwn(ERRORS, code) ? ERRORS[code as ErrorCode].exit : EXIT.failed,
    message: `${m.guest} was not moved: ${m.error?.message ?? `migration ${m.id} is ${m.state}`}`,
    hint: m.error?.hint ?? `godwit migration show ${m.id}`,
  });
}
