/**
 * Named places where a runner can be made to stand still, so that a test can kill or stop a process
 * exactly there.
 *
 * Only under `--test-faults`. A test writes a step's name into `fault-point` in the state
 * directory; the runner that reaches the step writes the name into `at-step` and waits until
 * `fault-point` holds something else. The names are `role:phase:effect` of the cores' tables, so a
 * step that no longer exists is never reached, and the test that waits for it fails.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const POLL_MS = 5;

export class FaultPoints {
  readonly #armed: string;
  readonly #reached: string;

  constructor(stateDir: string) {
    this.#armed = join(stateDir, 'fault-point');
    this.#reached = join(stateDir, 'at-step');
  }

  /** Undefined at once when nobody asked for this step, so that the ordinary path does not wait. */
  at(step: string): Promise<void> | undefined {
    if (!this.#isArmed(step)) return undefined;
    writeFileSync(this.#reached, step);
    return new Promise((resolve) => {
      const timer = setInterval(() => {
        if (this.#isArmed(step)) return;
        clearInterval(timer);
        resolve();
      }, POLL_MS);
    });
  }

  #isArmed(step: string): boolean {
    return existsSync(this.#armed) && readFileSync(this.#armed, 'utf8').trim() === step;
  }
}
