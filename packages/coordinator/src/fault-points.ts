/**
 * Named places where the coordinator can be made to stand still, so that a test can kill it there.
 *
 * Only under `--test-faults`. A test writes a name into `fault-point` in the state directory; the
 * step that carries it writes it into `at-step` and waits until `fault-point` holds something else.
 * Names come from the core's table: `coordinator:EFFECT`, or `coordinator:PHASE:EFFECT` for that
 * effect in one phase only; `open` and `sendDecision` stand before the record of a new migration is
 * written and before a decision, durable by then, is sent. `#n` behind a name: the n-th time. Files
 * are the interface because a killed process needs no goodbye.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const POLL_MS = 5;

export class FaultPoints {
  readonly #armedPath: string;
  readonly #reachedPath: string;
  #counted = '';
  #count = 0;

  constructor(stateDir: string) {
    this.#armedPath = join(stateDir, 'fault-point');
    this.#reachedPath = join(stateDir, 'at-step');
  }

  /** Resolves at once unless a test asked for this step; then when the test lets it go. */
  async at(phase: string, effect: string): Promise<void> {
    const armed = this.#armed();
    const [name, time = '1'] = armed.split('#');
    if (name !== `coordinator:${effect}` && name !== `coordinator:${phase}:${effect}`) return;
    this.#count = armed === this.#counted ? this.#count + 1 : 1;
    this.#counted = armed;
    if (this.#count !== Number(time)) return;
    writeFileSync(this.#reachedPath, armed);
    await new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        if (this.#armed() === armed) return;
        clearInterval(timer);
        this.#counted = '';
        resolve();
      }, POLL_MS);
    });
  }

  #armed(): string {
    // Looked for first, because most of the time there is none; it may be gone when it is read.
    if (!existsSync(this.#armedPath)) return '';
    try {
      return readFileSync(this.#armedPath, 'utf8').trim();
    } catch {
      return '';
    }
  }
}
