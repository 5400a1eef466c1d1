/**
 * Drives one core: takes events one at a time, steps the table, has the effects performed in order.
 *
 *   socket, timer, thread --event--> [core runner] --effect--> source-runner / target-runner
 *
 * An effect starts something and returns; when that something ends it comes back as an event. So a
 * cancel is heard while a round is in the air. The loop is synchronous unless a test holds it at a
 * fault point; nothing else may await between a step and its effects.
 *
 * An effect that throws is our own mistake, and as far as may be it costs this migration alone. A word that
 * was not said is a message that was lost, which the tables expect. A deed that was not done ends the
 * migration by its table: the rest of the step is left, and `cancel` is heard next. Where `cancel` does not
 * lead out of the phase nobody here can say where the guest is; the process ends then, because the journal
 * can, and that end is proof.
 *
 * Each phase has one timer, started anew on entry and at each passing: `deadline` starts a question
 * and decides nothing.
 */
import { type Core, type Facts, isWord, type State } from '@godwit/protocol';
import type { FaultPoints } from './fault-points.ts';

export interface CoreRunnerHooks<P extends string, E extends string, X extends string, S> {
  perform(effect: X, event: E): void;
  /** The phase changed; `why` is the row's reason. */
  entered(phase: P, event: E, why: string, state: S): void;
  ignored(phase: P, event: E, why: string): void;
  /** An effect threw; what follows is done already. */
  failed(effect: X, error: unknown): void;
  /** How long the phase may take before `deadline` is asked; undefined: no end of its own. */
  deadlineMs(phase: P): number | undefined;
  /** It took longer: `deadline` is asked next. */
  overdue(phase: P, afterMs: number): void;
}

export class CoreRunner<
  P extends string,
  E extends string,
  X extends string,
  F extends Facts,
  W extends string,
> {
  readonly #core: Core<P, E, X, F, W>;
  readonly #hooks: CoreRunnerHooks<P, E, X, State<P, F>>;
  readonly #faults: FaultPoints | undefined;
  readonly #queue: E[] = [];
  #state: State<P, F>;
  #busy = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    core: Core<P, E, X, F, W>,
    hooks: CoreRunnerHooks<P, E, X, State<P, F>>,
    faults: FaultPoints | undefined,
  ) {
    this.#core = core;
    this.#hooks = hooks;
    this.#faults = faults;
    this.#state = core.initial;
    this.#startTimer();
  }

  get state(): State<P, F> {
    return this.#state;
  }

  get phase(): P {
    return this.#state.phase;
  }

  get isFinal(): boolean {
    return this.#core.isFinal(this.#state.phase);
  }

  /** Where the guest may be, by the table. */
  get guest(): 'here' | 'stopped' | 'frozen' | 'absent' {
    return this.#core.phases[this.#state.phase].guest;
  }

  get isBlackout(): boolean {
    return this.#core.phases[this.#state.phase].isBlackout ?? false;
  }

  dispatch(event: E): void {
    this.#queue.push(event);
    if (!this.#busy) void this.#drain();
  }

  /** Ends the timer; events after this still step the table. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #drain(): Promise<void> {
    this.#busy = true;
    for (let event = this.#queue.shift(); event !== undefined; event = this.#queue.shift()) {
      const before = this.#state.phase;
      const { state, effects, ignored, why } = this.#core.step(this.#state, event);
      if (ignored) {
        this.#hooks.ignored(before, event, why);
        if (event === 'deadline') this.#startTimer();
        continue;
      }
      this.#state = state;
      if (state.phase !== before || event === 'deadline') this.#startTimer();
      for (const effect of effects) {
        const held = this.#faults?.at(`${this.#core.role}:${state.phase}:${effect}`);
        if (held !== undefined) await held;
        if (!this.#perform(effect, event)) break;
      }
      if (state.phase !== before) this.#hooks.entered(state.phase, event, why, state);
    }
    this.#busy = false;
  }

  /** @returns whether the step goes on. @throws what the effect threw, when the table has no way out */
  #perform(effect: X, event: E): boolean {
    try {
      this.#hooks.perform(effect, event);
      return true;
    } catch (error) {
      const isSaid = isWord(effect);
      if (!isSaid) {
        const { phase } = this.#core.step(this.#state, 'cancel' as E).state;
        if (phase === this.#state.phase) throw error;
        this.#queue.unshift('cancel' as E);
      }
      this.#hooks.failed(effect, error);
      return isSaid;
    }
  }

  #startTimer(): void {
    clearTimeout(this.#timer);
    const { phase } = this.#state;
    const deadlineMs = this.#hooks.deadlineMs(phase);
    if (deadlineMs === undefined) return;
    this.#timer = setTimeout(() => {
      this.#hooks.overdue(phase, deadlineMs);
      this.dispatch('deadline' as E);
    }, deadlineMs);
  }
}
