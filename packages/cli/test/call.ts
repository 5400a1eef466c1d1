/** Runs one command line in this process and collects what it prints, as a pipe would see it. */
import { PassThrough } from 'node:stream';
import type { Io } from '../src/io.ts';
import { run } from '../src/program.ts';

export interface Said {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

export interface CallOptions {
  readonly env?: Record<string, string>;
  readonly stdin?: string;
  readonly tty?: boolean;
  /** Gets the way to send a signal to the command. */
  readonly onStart?: (signal: () => void) => void;
  /** Called at each piece of output, with all of it so far. */
  readonly onOut?: (soFar: string, signal: () => void) => void;
}

export async function call(argv: readonly string[], options: CallOptions = {}): Promise<Said> {
  let out = '';
  let err = '';
  const handlers = new Set<(signal: NodeJS.Signals) => void>();
  const signal = () => {
    for (const handler of handlers) handler('SIGINT');
  };
  const text = (data: string | Uint8Array) =>
    typeof data === 'string' ? data : Buffer.from(data).toString('utf8');
  const stdin = new PassThrough();
  stdin.end(options.stdin ?? '');
  const io: Io = {
    env: options.env ?? {},
    stdin: stdin as unknown as NodeJS.ReadStream,
    outIsTty: options.tty ?? false,
    errIsTty: options.tty ?? false,
    columns: () => 100,
    out: (data) => {
      out += text(data);
      options.onOut?.(out, signal);
    },
    err: (data) => {
      err += text(data);
    },
    enterRawMode: () => () => {},
    onSignal: (handler) => {
      handlers.add(handler);
      return () => handlers.delete(handler);
    },
  };
  options.onStart?.(signal);
  const exit = await run(argv, io);
  return { exit, out, err };
}
