/**
 * One state of the walk's world, as plain data: the three cores, who is up, the links, what is in
 * flight, and what may still go wrong. Not a test; walk-world.ts says how one state leads to others.
 */
import type {
  COORDINATOR,
  CoordinatorEvent,
  CoordinatorState,
  SOURCE,
  SourceEvent,
  SourceState,
  TARGET,
  TargetEvent,
  TargetState,
} from '../src/cores/mod.ts';

export interface Cores {
  readonly source: typeof SOURCE;
  readonly target: typeof TARGET;
  readonly coordinator: typeof COORDINATOR;
}

export interface Settings {
  readonly cores: Cores;
  /** Pages are missing at the target when it runs. */
  readonly postcopy: boolean;
  /** Cut links come back, a killed coordinator restarts. */
  readonly heal: boolean;
  readonly faults: number;
  /** A person may cancel, once, at any time. */
  readonly cancel: boolean;
  /** No stops, no cuts, no bad digests: a smaller world. */
  readonly killsOnly?: boolean;
  /** The end of a killed target is proved by a person who discards whatever it did. */
  readonly discards?: boolean;
}

export type End = 'source' | 'target' | 'coordinator';
export type LinkName = 'peers' | 'sourceLink' | 'targetLink';

/** `quiet`: given up because the other end was stopped; unlike `cut` it always comes back. */
export interface Link {
  readonly state: 'up' | 'cut' | 'quiet';
  /** What each end knows: `broken` = not noticed yet. The coordinator's view plays no part. */
  readonly near: 'up' | 'broken' | 'lost';
  readonly far: 'up' | 'broken' | 'lost';
}

/** Messages in flight, by direction: s, t, c = source, target, coordinator. */
export interface Queues {
  st: readonly TargetEvent[];
  ts: readonly SourceEvent[];
  sc: readonly CoordinatorEvent[];
  cs: readonly SourceEvent[];
  tc: readonly CoordinatorEvent[];
  ct: readonly TargetEvent[];
}

/** Links, queues' contents and cores' states are replaced, never changed: worlds share them. */
export interface World {
  source: SourceState;
  target: TargetState;
  coordinator: CoordinatorState;
  up: { source: boolean; target: boolean; coordinator: boolean };
  stopped: '' | End;
  links: { [name in LinkName]: Link };
  queues: Queues;
  /** Work that a runner does between an effect and the event that ends it. */
  sendingRest: boolean;
  checking: boolean;
  /** The target's journal says RAN; it outlives the process. */
  ran: boolean;
  faults: number;
  cancels: number;
  /** A killed process held the only copy of a page, or had claimed the guest: rule 2's exception. */
  ownerDied: boolean;
  proofTold: boolean;
}

export const LINK_UP: Link = { state: 'up', near: 'up', far: 'up' };
export const LINKS = ['peers', 'sourceLink', 'targetLink'] as const;
export const ENDS: { readonly [name in LinkName]: readonly [End, End] } = {
  peers: ['source', 'target'],
  sourceLink: ['source', 'coordinator'],
  targetLink: ['target', 'coordinator'],
};

/** The guest runs at the source, the rounds are over, the next step is the switchover. */
export function firstWorld(settings: Settings): World {
  return {
    source: { ...settings.cores.source.initial, phase: 'rounds' },
    target: { ...settings.cores.target.initial, phase: 'landing' },
    coordinator: settings.cores.coordinator.initial,
    up: { source: true, target: true, coordinator: true },
    stopped: '',
    links: { peers: LINK_UP, sourceLink: LINK_UP, targetLink: LINK_UP },
    queues: { st: [], ts: [], sc: [], cs: [], tc: [], ct: [] },
    sendingRest: false,
    checking: false,
    ran: false,
    faults: settings.faults,
    cancels: settings.cancel ? 1 : 0,
    ownerDied: false,
    proofTold: false,
  };
}

/** One character a name, given out as names are met: keys are made and compared a million times. */
const letters = new Map<string, string>();
function letter(name: string): string {
  let found = letters.get(name);
  if (found === undefined) {
    found = String.fromCharCode(65 + letters.size);
    letters.set(name, found);
  }
  return found;
}

function queueKey(queue: readonly string[]): string {
  let key = ' ';
  for (const message of queue) key += letter(message);
  return key;
}

function bits(...flags: boolean[]): string {
  return String.fromCharCode(flags.reduce((sum, flag) => sum * 2 + Number(flag), 1));
}

/** Equal keys, equal states. Counts of what may still go wrong are part of a state. */
export function keyOf(w: World): string {
  const { source: s, target: t, coordinator: c, up, queues: q } = w;
  let key = letter(s.phase) + letter(t.phase) + letter(c.phase) + letter(w.stopped);
  for (const name of LINKS) {
    const { state, near, far } = w.links[name];
    key += letter(state) + letter(near) + letter(far);
  }
  key += bits(
    s.complete,
    t.complete,
    t.peer,
    t.coordinator,
    c.sourceDead,
    w.sendingRest,
    w.checking,
  );
  key += bits(w.ran, w.ownerDied, w.proofTold, up.source, up.target, up.coordinator);
  key += `${w.faults}${w.cancels}${queueKey(q.st)}${queueKey(q.ts)}`;
  return key + queueKey(q.sc) + queueKey(q.cs) + queueKey(q.tc) + queueKey(q.ct);
}

export function copy(w: World): World {
  return { ...w, up: { ...w.up }, links: { ...w.links }, queues: { ...w.queues } };
}
