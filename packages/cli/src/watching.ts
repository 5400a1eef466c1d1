/**
 * `--watch` of the ls commands: the list again at every change, until Ctrl-C.
 *
 * The list comes from the event stream, so nothing is asked while nothing happens. A terminal sees
 * the table redrawn in place; a pipe with --json gets one list a line, each time it changed, and one
 * without gets the table again.
 */
import type { EventKind } from '@godwit/protocol';
import { type Command, Option } from 'commander';
import type { Call } from './command.ts';
import { EXIT } from './errors.ts';
import { type World, watchWorld } from './event-client.ts';
import { jsonDocument, jsonLine } from './output.ts';

export function withWatch(command: Command): Command {
  return command.addOption(new Option('-w, --watch', 'print again at every change, until Ctrl-C'));
}

/** One list, two ways to have it. */
export interface Listed<T> {
  readonly kind: EventKind;
  ask(): Promise<T[]>;
  /** The same list from what the event stream told. */
  from(world: World): T[];
}

export async function watching<T>(
  { io, options, api }: Call<{ watch?: boolean }>,
  listed: Listed<T>,
  toTable: (list: readonly T[]) => string,
): Promise<number> {
  if (!options.watch) {
    const list = await listed.ask();
    io.out(options.json ? jsonDocument(list) : toTable(list));
    return EXIT.ok;
  }
  const stop = new AbortController();
  const release = io.onSignal(() => stop.abort());
  let shown = '';
  let shownLines = 0;
  try {
    for await (const world of watchWorld(api, [listed.kind], stop.signal)) {
      const list = listed.from(world);
      const text = options.json ? jsonLine(list) : toTable(list);
      if (text === shown) continue;
      const inPlace = io.outIsTty && !options.json && shownLines > 0;
      io.out((inPlace ? `\x1b[${shownLines}A\x1b[J` : '') + text);
      shown = text;
      shownLines = text.split('\n').length - 1;
    }
  } finally {
    release();
  }
  return EXIT.interrupted;
}

/** A list that keeps its order from one look to the next. */
export function byName<T extends { name: string }>(list: Iterable<T>): T[] {
  return [...list].sort((x, y) => (x.name < y.name ? -1 : x.name > y.name ? 1 : 0));
}
