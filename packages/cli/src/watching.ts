/**
 * `--watch` of the ls commands: the same list again and again, until Ctrl-C.
 *
 * A terminal sees the table redrawn in place; a pipe with --json gets one list a line, each time it
 * changed, and one without gets the table again.
 */
import { type Command, Option } from 'commander';
import { pause } from './api-client.ts';
import type { Call } from './command.ts';
import { EXIT } from './errors.ts';
import { jsonDocument, jsonLine } from './output.ts';

const WATCH_EVERY_MS = 500;

export function withWatch(command: Command): Command {
  return command.addOption(new Option('-w, --watch', 'print again at every change, until Ctrl-C'));
}

export async function watching<T>(
  call: Call<{ watch?: boolean }>,
  ask: () => Promise<T[]>,
  toTable: (list: readonly T[]) => string,
): Promise<number> {
  const { io, options } = call;
  if (!options.watch) {
    const list = await ask();
    io.out(options.json ? jsonDocument(list) : toTable(list));
    return EXIT.ok;
  }
  const stop = new AbortController();
  const release = io.onSignal(() => stop.abort());
  let shown = '';
  let shownLines = 0;
  try {
    while (!stop.signal.aborted) {
      const list = await ask();
      const text = options.json ? jsonLine(list) : toTable(list);
      if (text !== shown) {
        const inPlace = io.outIsTty && !options.json && shownLines > 0;
        io.out((inPlace ? `\x1b[${shownLines}A\x1b[J` : '') + text);
        shown = text;
        shownLines = text.split('\n').length - 1;
      }
      await pause(WATCH_EVERY_MS, stop.signal);
    }
  } finally {
    release();
  }
  return EXIT.interrupted;
}

/** A list that keeps its order from one look to the next. */
export function byName<T extends { name: string }>(list: readonly T[]): T[] {
  return list.toSorted((x, y) => (x.name < y.name ? -1 : x.name > y.name ? 1 : 0));
}
