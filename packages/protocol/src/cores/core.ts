/**
 * What the three migration cores have in common: the shape of a table and the one lookup in it.
 *
 *   event (a message, a lost link, a deadline, ...) -> [core] -> next state + names of effects
 *
 * A core is data. It has no clock, socket or disk and starts no thread: the runner that owns it
 * turns what happens into events, calls `step`, keeps the state it returns and performs the effects
 * in the order given, all in one go, before it takes the next event. So whatever can happen to a
 * migration can be enumerated, and is: `test/product.test.ts` walks the product of the tables.
 *
 * A state is a phase and a few facts (booleans such as `complete`). A row names the phases and
 * events it stands for, may ask a fact (`when`), and gives the next phase, the facts it changes and
 * its effects. An event without a row is ignored: the state stays, nothing is done, and the caller
 * counts and logs it. Ignoring is a decision like any other, so `ignoredPairs` lists every such pair.
 */
import { assert } from '../assert.ts';

/** Where the guest is, seen from one end, while that end is in a phase. */
export type GuestHere =
  /** Its harts may execute here. */
  | 'here'
  /** A whole guest is here and its harts do not execute; it may yet run here. */
  | 'stopped'
  /** An image that must not execute here again; held for the other end, or for a person. */
  | 'frozen'
  /** No guest that could run: nothing, or pages that are still landing. */
  | 'absent';

export interface Phase {
  readonly guest: GuestHere;
  /** Part of the blackout: the guest runs nowhere, or only just, and the next phase follows at once. */
  readonly isBlackout?: true;
  readonly what: string;
}

/** Facts are booleans, so that every state of a core can be enumerated. */
export type Facts = { readonly [name: string]: boolean };

export type State<P extends string, F extends Facts> = F & { readonly phase: P };

export interface Row<
  P extends string,
  E extends string,
  X extends string,
  F extends Facts,
  W extends string,
> {
  /** The phases and events this row stands for: each with each. */
  readonly at: P | readonly P[];
  readonly on: E | readonly E[];
  /** Applies only when this condition holds; rows of one pair must exclude each other. */
  readonly when?: W;
  /** Next phase; left out: the phase stays. */
  readonly to?: P;
  readonly set?: Partial<F>;
  readonly effects: readonly X[];
  readonly why: string;
}

/** Why an event is ignored, for the pairs a reader would wonder about. */
export interface Ignoring<P extends string, E extends string> {
  readonly at: readonly P[];
  readonly on: readonly E[];
  readonly why: string;
}

export interface Table<
  P extends string,
  E extends string,
  X extends string,
  F extends Facts,
  W extends string,
> {
  readonly role: 'source' | 'target' | 'coordinator';
  readonly initial: State<P, F>;
  readonly phases: { readonly [phase in P]: Phase };
  readonly events: { readonly [event in E]: string };
  readonly effects: { readonly [effect in X]: string };
  readonly conditions: { readonly [name in W]: (facts: F) => boolean };
  readonly rows: readonly Row<P, E, X, F, W>[];
  readonly ignoring: readonly Ignoring<P, E>[];
}

export interface Step<S, X> {
  readonly state: S;
  /** To be performed in this order. */
  readonly effects: readonly X[];
  /** No row stands for the event: nothing changed; count it and log it. */
  readonly ignored: boolean;
  /** The row's reason; for an ignored event the reason on record, or ''. */
  readonly why: string;
}

export interface Core<
  P extends string,
  E extends string,
  X extends string,
  F extends Facts,
  W extends string,
> extends Table<P, E, X, F, W> {
  /** The only way to change state. */
  readonly step: (state: State<P, F>, event: E) => Step<State<P, F>, X>;
  /** No row leads out of the phase; it may still answer. */
  readonly isFinal: (phase: P) => boolean;
  readonly ignoredPairs: () => readonly { phase: P; event: E; why: string }[];
}

function list<T>(one: T | readonly T[]): readonly T[] {
  return Array.isArray(one) ? (one as readonly T[]) : [one as T];
}

export function defineCore<
  P extends string,
  E extends string,
  X extends string,
  F extends Facts,
  W extends string,
>(table: Table<P, E, X, F, W>): Core<P, E, X, F, W> {
  const rows = indexRows(table);
  const reasons = new Map<string, string>();
  for (const { at, on, why } of table.ignoring) {
    for (const phase of at) {
      for (const event of on) {
        const pair = `${phase} ${event}`;
        assert(!rows.has(pair), `${table.role}: ${pair} has a row and a reason to be ignored`);
        reasons.set(pair, why);
      }
    }
  }

  function step(state: State<P, F>, event: E): Step<State<P, F>, X> {
    const pair = `${state.phase} ${event}`;
    const row = rows
      .get(pair)
      ?.find((r) => r.when === undefined || table.conditions[r.when](state));
    if (row === undefined) {
      return { state, effects: [], ignored: true, why: reasons.get(pair) ?? '' };
    }
    const next = { ...state, ...row.set, phase: row.to ?? state.phase };
    return { state: next, effects: row.effects, ignored: false, why: row.why };
  }

  const left = new Set<P>();
  for (const { at, to } of table.rows) {
    for (const phase of list(at)) if (to !== undefined && to !== phase) left.add(phase);
  }
  const isFinal = (phase: P): boolean => !left.has(phase);

  function ignoredPairs(): { phase: P; event: E; why: string }[] {
    const pairs: { phase: P; event: E; why: string }[] = [];
    for (const phase of Object.keys(table.phases) as P[]) {
      for (const event of Object.keys(table.events) as E[]) {
        const pair = `${phase} ${event}`;
        if (!rows.has(pair)) pairs.push({ phase, event, why: reasons.get(pair) ?? '' });
      }
    }
    return pairs;
  }

  return { ...table, step, isFinal, ignoredPairs };
}

/** Rows by "phase event"; a pair has one row, or several that all ask a condition. */
function indexRows<
  P extends string,
  E extends string,
  X extends string,
  F extends Facts,
  W extends string,
>(table: Table<P, E, X, F, W>): Map<string, Row<P, E, X, F, W>[]> {
  const index = new Map<string, Row<P, E, X, F, W>[]>();
  for (const row of table.rows) {
    for (const phase of list(row.at)) {
      for (const event of list(row.on)) {
        const pair = `${phase} ${event}`;
        const rows = index.get(pair) ?? [];
        rows.push(row);
        index.set(pair, rows);
        const conditional = rows.every((r) => r.when !== undefined);
        assert(rows.length === 1 || conditional, `${table.role}: ${pair} has two rows`);
      }
    }
  }
  return index;
}
