/**
 * What leaves a command: tables, JSON, errors, colours.
 *
 * Into a pipe there is no colour and no redraw; NO_COLOR (no-color.org) switches colour off on a
 * terminal too.
 */
import type { CommandError } from './errors.ts';
import type { Io } from './io.ts';

const SGR = { red: '31', green: '32', yellow: '33', bold: '1', dim: '2' } as const;
export type Colour = keyof typeof SGR;

export function hasColour(io: Io, isTty: boolean): boolean {
  return isTty && !io.env.NO_COLOR && io.env.TERM !== 'dumb';
}

export function paint(io: Io, colour: Colour, text: string): string {
  return hasColour(io, io.outIsTty) ? `\x1b[${SGR[colour]}m${text}\x1b[0m` : text;
}

/** Columns padded to their widest cell, two blanks apart, no blanks at the end of a line. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all.map((row) => `${alignRow(row, widths)}\n`).join('');
}

export function alignRow(row: readonly string[], widths: readonly number[]): string {
  return row
    .map((cell, column) => cell.padEnd(widths[column] ?? 0))
    .join('  ')
    .trimEnd();
}

/** One API object, indented for a person who pipes it into a pager. */
export function jsonDocument(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** One object a line, for streams. */
export function jsonLine(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}

export function printError(io: Io, error: CommandError, json: boolean): void {
  const { code, message, hint, exit } = error;
  if (json) {
    io.err(jsonLine({ error: { code, message, ...(hint !== undefined && { hint }), exit } }));
    return;
  }
  const label = hasColour(io, io.errIsTty) ? `\x1b[${SGR.red}merror:\x1b[0m` : 'error:';
  io.err(`${label} ${message}\n`);
  if (hint !== undefined) io.err(`hint: ${hint}\n`);
}

/** Whole lines for what was done; one line that is written over while it is done, on a terminal. */
export function progressScreen(io: Io) {
  let isDirty = false;
  const clear = () => {
    if (isDirty) io.err('\r\x1b[K');
    isDirty = false;
  };
  return {
    clear,
    note(text: string) {
      clear();
      io.err(`${text}\n`);
    },
    progress(what: string, percent: number) {
      if (!io.errIsTty) return;
      io.err(`\r\x1b[K${`${what}: ${Math.floor(percent)} %`.slice(0, io.columns() - 1)}`);
      isDirty = true;
    },
  };
}
