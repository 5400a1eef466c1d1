/**
 * Named places where a runner can be made to stand still, so that a test can kill or stop a process
 * exactly there.
 *
 * Only under `--test-faults`. A test writes a step's name into `fault-point` in the state
 * directory; the runner that reaches the step writes the name into `at-step` and waits until
 * `fault-point` holds something else. The names are `role:phase:effect` of the cores' tables, so a
 * step that no longer exists is never reached, and the test that waits for it fails. With `#n` behind
 * the name it is the n-th time the step is reached since it was armed.
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

  /** Undefined at once when nobody asked for this step, so that the ordinary path does not wait. */
  at(step: string): Promise<void> | undefined {
    const armed = this.#armed();
    if (armed !== this.#counted) {
      this.#counted = armed;
      this.#count = 0;
    }
    const [name, time = '1'] = armed.split('#');
    if (name !== step) return undefined;
    this.#count += 1;
    if (this.#count !== Number(time)) return undefined;
    writeFileSync(this.#reachedPath, armed);
    return new Promise((resolve) => {
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
