/**
 * Process entry of `godwit agent`: options, supervisor, signals, the ready line.
 *
 *   node packages/agent/src/main.ts --name a --state-dir DIR --listen 127.0.0.1:7410 --coordinator URL
 *
 * Prints one line of JSON on stdout whenever a daemon is ready (the first one, and each that replaced
 * one that died): `{"ready":true,"host","control","pid","daemonPid"}`. What goes wrong before that is one
 * line of `error:` and one of `hint:` on stderr, with the exit code of the error table. The only
 * `process.exit` of the supervisor is here.
 */
import { GodwitError } from '@godwit/protocol';
import { openLog } from './log.ts';
import { type AgentOptions, parseOptions } from './options.ts';
import { Supervisor } from './supervisor.ts';

function fail(thrown: unknown): never {
  const error = GodwitError.from(thrown);
  console.error(`error: ${error.message}`);
  if (error.hint !== undefined) console.error(`hint: ${error.hint}`);
  process.exit(error.exit);
}

function optionsOrExit(args: readonly string[]): AgentOptions {
  try {
    return parseOptions(args, process.env);
  } catch (error) {
    return fail(error);
  }
}

const args = process.argv.slice(2);
const options = optionsOrExit(args);
const supervisor = new Supervisor(options, args, openLog(options, 'supervisor'));
supervisor.on('ready', (control, daemonPid) => {
  const line = { ready: true, host: options.name, control, pid: process.pid, daemonPid };
  process.stdout.write(`${JSON.stringify(line)}\n`);
});
supervisor.on('ended', (exit, error) => (error ? fail(error) : process.exit(exit)));
process.on('SIGTERM', () => supervisor.end('inOrder'));
process.on('SIGINT', () => supervisor.end('inOrder'));
// Whoever reads our stdout may go away; the agent stays.
process.stdout.on('error', () => {});
supervisor.start();
