/**
 * Guests in files of this host: `STATE DIRECTORY/checkpoints/NAME.checkpoint`.
 *
 *   guest -> (harts stopped) -> [checkpoints] -> memory task -> file
 *   file -> [checkpoints] -> spec and epoch -> coordinator -> Guest.restore
 *
 * A checkpoint has a name and not a path: whoever may ask the coordinator may not thereby write, or read,
 * any file of the host. An old one is never replaced. The guest stands while it is written; how long is
 * in the answer. Main thread only; pages and files are a memory task's.
 */
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { readCheckpointHead } from '@godwit/machine';
import {
  GodwitError,
  type GuestSpec,
  guestSpec,
  type Message,
  pack,
  unpack,
} from '@godwit/protocol';
import type { Guest } from './guest.ts';
import { asGodwitError } from './machine-errors.ts';
import { runMemoryTask } from './memory-task.ts';

export type CheckpointAnswer = NonNullable<Message<'done'>['checkpoint']>;

/** Holder of the lease; no migration's id. */
const LEASE = '(checkpoint)';

export class Checkpoints {
  readonly #host: string;
  readonly #directory: string;

  constructor(host: string, stateDir: string) {
    this.#host = host;
    this.#directory = resolve(stateDir, 'checkpoints');
  }

  /** @param checkpoint a name of the wire's: no separators */
  pathOf(checkpoint: string): string {
    return join(this.#directory, `${checkpoint}.checkpoint`);
  }

  /**
   * @throws GodwitError `checkpoint.exists`, `checkpoint.not_written`, `guest.busy` in a migration,
   *   `guest.not_running` unless it runs or was stopped by a person, `guest.ended`; it runs on then
   */
  async write(guest: Guest, checkpoint: string): Promise<CheckpointAnswer> {
    const { name, state } = guest;
    if (state !== 'running' && state !== 'stopped') {
      throw new GodwitError('guest.not_running', { guest: name, state });
    }
    const path = this.pathOf(checkpoint);
    if (existsSync(path)) {
      throw new GodwitError('checkpoint.exists', { checkpoint, host: this.#host });
    }
    // No migration may begin, and harvest or move the guest, while its harts stand for us.
    guest.leaseTo(LEASE);
    const { spec, epoch } = guest.report();
    const beganMs = performance.now();
    try {
      if (state === 'running') await guest.stopHarts();
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      const about = aboutOf(spec, epoch);
      const task = { kind: 'write', path, state: guest.captureState(), about } as const;
      const [written] = await runMemoryTask(guest.memory, task);
      const { fileBytes, digest } = written!;
      return { spec, epoch, path, fileBytes, digest, pausedMs: performance.now() - beganMs };
    } catch (error) {
      throw asWriteError(path, error);
    } finally {
      if (state === 'running' && guest.ending === undefined) guest.start();
      guest.releaseLease(LEASE);
    }
  }

  /** @throws GodwitError `checkpoint.not_found`, `checkpoint.damaged`, `state.version` */
  describe(checkpoint: string): CheckpointAnswer {
    const path = this.pathOf(checkpoint);
    if (!existsSync(path)) {
      throw new GodwitError('checkpoint.not_found', { checkpoint, host: this.#host, path });
    }
    try {
      const { about } = readCheckpointHead(path);
      return { ...readAbout(path, about), path, fileBytes: statSync(path).size };
    } catch (error) {
      throw asGodwitError(error);
    }
  }
}

/** The spec goes through the wire's own schema both ways: a file may come from anywhere. */
function aboutOf(spec: GuestSpec, epoch: number): string {
  return JSON.stringify({ spec: pack(guestSpec, spec, 'checkpoint', 'spec'), epoch });
}

function readAbout(path: string, about: string): { spec: GuestSpec; epoch: number } {
  try {
    const { spec, epoch } = JSON.parse(about) as { spec: unknown; epoch: unknown };
    if (typeof epoch !== 'number' || !Number.isSafeInteger(epoch) || epoch < 0) throw new Error();
    return { spec: unpack(guestSpec, spec, 'checkpoint', 'spec') as GuestSpec, epoch };
  } catch (cause) {
    const why = `checkpoint ${path} was not written by an agent: it does not say which guest it is`;
    throw new GodwitError('checkpoint.damaged', { why }, { cause });
  }
}

/** A directory that cannot be made is as good as a file that cannot be written. */
function asWriteError(path: string, error: unknown): GodwitError {
  const { code } = error as NodeJS.ErrnoException;
  const isSystem = error instanceof Error && !(error instanceof GodwitError) && 'errno' in error;
  if (!isSystem) return asGodwitError(error);
  const why = `checkpoint ${path} was not written: ${code}`;
  return new GodwitError('checkpoint.not_written', { why }, { cause: error });
}
