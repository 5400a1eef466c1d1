/**
 * The peer: QEMU moving its guest between two processes on this machine, by the scripts of whoever runs
 * the benchmark.
 *
 *   GODWIT_QEMU_PEER    directory with migrate.py, which takes --guest --mem --scenarios --modes --runs --json
 *                       and ends with a line {"results": [{scenario, mode, ok, total_ms, ...}]};
 *                       it needs python3, QEMU for riscv64 (QEMU names another one) and a C compiler
 *   GODWIT_GUEST_IMAGE  directory with its guest: kernel, initramfs, load generator
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { requireProgram } from './programs.ts';

export interface QemuRun {
  readonly mode: string;
  readonly totalMs: number;
  /** From the source's STOP to the target's RESUME. */
  readonly downtimeMs: number;
  /** Longest time between two heartbeats, seen from outside. */
  readonly outsideGapMs: number;
}

interface Spread {
  readonly median: number;
}

interface Result {
  readonly mode: string;
  readonly ok: number;
  readonly errors: string[];
  readonly total_ms: Spread | null;
  readonly stop_resume_ms: Spread | null;
  readonly beat_worst_ms: Spread | null;
}

/** What the scripts are written in, what they run, and what they compile their warm-up of memory with. */
function requireItsPrograms(): void {
  requireProgram('python3', 'python3');
  requireProgram(process.env.QEMU || 'qemu-system-riscv64', 'qemu-system-misc');
  requireProgram('cc', 'gcc, with libc6-dev');
}

/** @throws Error that names the package, the variable or the file that is missing */
export function requireQemu(): { script: string; image: string } {
  const { GODWIT_QEMU_PEER: peer, GODWIT_GUEST_IMAGE: image } = process.env;
  if (!peer) throw new Error('GODWIT_QEMU_PEER does not name the directory of the peer');
  if (!image) throw new Error('GODWIT_GUEST_IMAGE does not name the directory of its guest');
  requireItsPrograms();
  const script = join(peer, 'migrate.py');
  for (const file of [script, join(image, 'Image')]) {
    if (!existsSync(file)) throw new Error(`${file} does not exist`);
  }
  return { script, image };
}

/** One migration in each mode. A mode that failed is left out, and said so. */
export async function qemuRuns(
  scenario: string,
  modes: readonly string[],
  memory: string,
): Promise<QemuRun[]> {
  const { script, image } = requireQemu();
  const args = ['--guest', image, '--mem', memory, '--scenarios', scenario, '--runs', '1'];
  const text = await output('python3', [script, ...args, '--modes', modes.join(','), '--json']);
  const { results } = JSON.parse(text.trim().split('\n').at(-1) ?? '') as { results: Result[] };
  const runs: QemuRun[] = [];
  for (const result of results) {
    const { mode, total_ms: total, stop_resume_ms: downtime, beat_worst_ms: gap } = result;
    if (result.ok === 0 || total === null || downtime === null || gap === null) {
      console.error(`QEMU ${scenario} ${mode}: ${result.errors.join('; ')}`);
      continue;
    }
    runs.push({
      mode,
      totalMs: total.median,
      downtimeMs: downtime.median,
      outsideGapMs: gap.median,
    });
  }
  return runs;
}

/** What it printed, whether all of its runs succeeded (exit status 0) or not (1). */
function output(command: string, args: string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let [text, complaint] = ['', ''];
  child.stdout.on('data', (chunk) => {
    text += chunk;
  });
  child.stderr.on('data', (chunk) => {
    complaint = (complaint + chunk).slice(-500);
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0 || code === 1) resolve(text);
      else reject(new Error(`the peer ended with ${code}: ${complaint}`));
    });
  });
}
