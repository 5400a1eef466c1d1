/**
 * The command line's only door to the process around it: streams, environment, signals.
 *
 * Commands get an Io and never touch `process`, so that tests run them in their own process and
 * read what they print. Data goes to `out`, everything else to `err`.
 */

import { spawnSync } from 'node:child_process';

export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: NodeJS.ReadStream;
  readonly outIsTty: boolean;
  readonly errIsTty: boolean;
  columns(): number;
  out(data: string | Uint8Array): void;
  err(data: string | Uint8Array): void;
  /** stdin is a terminal: keys and bytes pass unchanged from here on; returns the way back. */
  enterRawMode(): () => void;
  /** Calls back at SIGINT, SIGTERM and SIGHUP instead of dying of them; returns the way to stop that. */
  onSignal(handler: (signal: NodeJS.Signals) => void): () => void;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** Two signals closer than this are one: a terminal and a parent process may both send Ctrl-C. */
const SAME_SIGNAL_MS = 1_000;

export function processIo(): Io {
  return {
    env: process.env,
    // Opened when it is wanted: most commands read nothing.
    get stdin() {
      return process.stdin;
    },
    outIsTty: process.stdout.isTTY === true,
    errIsTty: process.stderr.isTTY === true,
    columns: () => process.stdout.columns ?? 80,
    out: (data) => void process.stdout.write(data),
    err: (data) => void process.stderr.write(data),
    enterRawMode() {
      process.stdin.setRawMode(true);
      // Node leaves the terminal to write a line feed as two bytes; where there is stty, it does not.
      spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] });
      return () => void process.stdin.setRawMode(false);
    },
    onSignal(handler) {
      let lastAtMs = Number.NEGATIVE_INFINITY;
      const once = (signal: NodeJS.Signals) => {
        const nowMs = performance.now();
        if (nowMs - lastAtMs < SAME_SIGNAL_MS) return;
        lastAtMs = nowMs;
        handler(signal);
      };
      for (const signal of SIGNALS) process.on(signal, once);
      return () => {
        for (const signal of SIGNALS) process.off(signal, once);
      };
    },
  };
}
