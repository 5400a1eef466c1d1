/**
 * A world for the three cores: two agents, a coordinator, three links, and faults. Not a test: the
 * product walk (product.test.ts) enumerates it.
 *
 * A state is plain data and `moves` lists what can happen next, so the walk sees every interleaving
 * of messages, lost links, deadlines and faults. It runs the real tables (or mutated ones).
 *
 * Links are FIFO until they are cut. After a cut the receiver may still read a prefix of what was in
 * flight, then notices (peerLost, coordinatorLost) and loses the rest; what is sent into a cut link
 * is gone. A link comes back only after both ends noticed, as a new connection needs a new handshake.
 * A stopped process takes no step; the others may take it for lost, and it always wakes again.
 *
 * A deadline may pass at any time. One that only repeats a question passes when nothing is in flight
 * to or from that end, or the queues would grow for ever.
 */
import {
  COORDINATOR_TO_SOURCE,
  COORDINATOR_TO_TARGET,
  SOURCE_TO_COORDINATOR,
  SOURCE_TO_TARGET,
  TARGET_TO_COORDINATOR,
  TARGET_TO_SOURCE,
} from '../src/cores/delivery.ts';
import type { CoordinatorEvent, SourceEvent, TargetEvent } from '../src/cores/mod.ts';
import {
  type Cores,
  copy,
  ENDS,
  type End,
  LINK_UP,
  LINKS,
  type Link,
  type LinkName,
  type Queues,
  type Settings,
  type World,
} from './walk-state.ts';

const QUEUE_MAX = 8;

export interface Move {
  readonly label: string;
  /** Something that must happen if nothing else does: a message, a deadline, a repair. */
  readonly progress: boolean;
  readonly next: World;
}

/** What is queued after the message was sent into the link, or `queue` itself if it is gone. */
function sent<M extends string>(
  link: Link,
  view: 'near' | 'far',
  queue: readonly M[],
  message: M | undefined,
): readonly M[] {
  if (message === undefined || link.state !== 'up' || link[view] !== 'up') return queue;
  // What is in flight already will be read; said again behind it, it adds only states to walk.
  if (message === 'undecided' || queue.includes(message)) return queue;
  if (queue.length === QUEUE_MAX) throw new Error(`queue grows: ${queue}`);
  return [...queue, message];
}

function stepSource(w: World, cores: Cores, event: SourceEvent): void {
  const q = w.queues;
  const { state, effects } = cores.source.step(w.source, event);
  w.source = state;
  for (const effect of effects) {
    if (effect === 'sendRest') w.sendingRest = true;
    q.st = sent(w.links.peers, 'near', q.st, SOURCE_TO_TARGET[effect]);
    q.sc = sent(w.links.sourceLink, 'near', q.sc, SOURCE_TO_COORDINATOR[effect]);
  }
  if (state.phase !== 'stopping') w.sendingRest = false;
}

function stepTarget(w: World, cores: Cores, event: TargetEvent): void {
  const q = w.queues;
  const { state, effects } = cores.target.step(w.target, event);
  w.target = state;
  for (const effect of effects) {
    if (effect === 'checkManifest') w.checking = true;
    if (effect === 'journalRan') w.ran = true;
    q.ts = sent(w.links.peers, 'far', q.ts, TARGET_TO_SOURCE[effect]);
    q.tc = sent(w.links.targetLink, 'near', q.tc, TARGET_TO_COORDINATOR[effect]);
  }
  if (state.phase !== 'landing') w.checking = false;
}

/** `from`: whose message it is; `answer...` effects go back there. */
function stepCoordinator(w: World, cores: Cores, event: CoordinatorEvent, from: End): void {
  const q = w.queues;
  const { state, effects } = cores.coordinator.step(w.coordinator, event);
  w.coordinator = state;
  for (const effect of effects) {
    const answer = effect.startsWith('answer');
    if (answer ? from === 'source' : true) {
      q.cs = sent(w.links.sourceLink, 'far', q.cs, COORDINATOR_TO_SOURCE[effect]);
    }
    if (answer ? from === 'target' : true) {
      q.ct = sent(w.links.targetLink, 'far', q.ct, COORDINATOR_TO_TARGET[effect]);
    }
  }
}

/** Everything that can happen next. */
export function moves(w: World, settings: Settings): Move[] {
  const found: Move[] = [];
  const add = (label: string, progress: boolean, change: (next: World) => void): void => {
    const next = copy(w);
    change(next);
    tidy(next, settings.cores);
    found.push({ label, progress, next });
  };
  const awake = (end: End): boolean => w.up[end] && w.stopped !== end;
  if (awake('source')) sourceMoves(w, settings, add);
  if (awake('target')) targetMoves(w, settings, add);
  if (awake('coordinator')) coordinatorMoves(w, settings, add);
  linkMoves(w, settings, add);
  if (w.faults > 0) faultMoves(w, settings, add);
  return found;
}

/**
 * Messages that nothing can come of any more: to a dead process, or ignored by an end whose phase is
 * final. Without them there are fewer states, and no fewer behaviours.
 */
function tidy(w: World, { source, target, coordinator }: Cores): void {
  const q = w.queues;
  if (!w.up.source) {
    q.ts = [];
    q.cs = [];
  } else if (source.isFinal(w.source.phase)) {
    const heard = (event: SourceEvent) => !source.step(w.source, event).ignored;
    q.ts = q.ts.filter(heard);
    q.cs = q.cs.filter(heard);
  }
  if (!w.up.target) {
    q.st = [];
    q.ct = [];
  } else if (target.isFinal(w.target.phase)) {
    const heard = (event: TargetEvent) => !target.step(w.target, event).ignored;
    q.st = q.st.filter(heard);
    q.ct = q.ct.filter(heard);
  }
  if (coordinator.isFinal(w.coordinator.phase)) {
    const heard = (event: CoordinatorEvent) => !coordinator.step(w.coordinator, event).ignored;
    q.sc = q.sc.filter(heard);
    q.tc = q.tc.filter(heard);
  }
}

type Add = (label: string, progress: boolean, change: (next: World) => void) => void;

function shift(queues: Queues, name: keyof Queues): void {
  (queues[name] as readonly string[]) = queues[name].slice(1);
}

function sourceMoves(w: World, { cores, postcopy }: Settings, add: Add): void {
  const { peers, sourceLink } = w.links;
  const on = (event: SourceEvent, progress = true, change?: (next: World) => void): void =>
    add(`source: ${event}`, progress, (next) => {
      change?.(next);
      stepSource(next, cores, event);
    });
  if (w.source.phase === 'rounds') on('policySwitch');
  if (w.sendingRest) on(postcopy ? 'stoppedMissing' : 'stoppedComplete');
  if (w.cancels > 0) on('cancel', false, (next) => next.cancels--);
  if (peers.near !== 'lost' && w.queues.ts.length > 0) {
    on(w.queues.ts[0]!, true, (next) => shift(next.queues, 'ts'));
  }
  if (sourceLink.near !== 'lost' && w.queues.cs.length > 0) {
    on(w.queues.cs[0]!, true, (next) => shift(next.queues, 'cs'));
  }
  if (peers.near === 'broken') {
    on('peerLost', true, (next) => {
      next.links.peers = { ...next.links.peers, near: 'lost' };
      next.queues.ts = [];
    });
  }
  if (sourceLink.near === 'broken') {
    on('coordinatorLost', true, (next) => {
      next.links.sourceLink = { ...next.links.sourceLink, near: 'lost' };
      next.queues.cs = [];
    });
  }
  const late = cores.source.step(w.source, 'deadline');
  const { st, ts, sc, cs } = w.queues;
  const asked = st.length + ts.length + sc.length + cs.length > 0;
  const repeats = late.state.phase === w.source.phase;
  if (!late.ignored && !(repeats && asked)) on('deadline');
}

function targetMoves(w: World, { cores, postcopy }: Settings, add: Add): void {
  const { peers, targetLink } = w.links;
  const on = (event: TargetEvent, change?: (next: World) => void): void =>
    add(`target: ${event}`, true, (next) => {
      change?.(next);
      stepTarget(next, cores, event);
    });
  if (w.checking) {
    on(postcopy ? 'manifestMissing' : 'manifestComplete', (next) => {
      next.checking = false;
    });
  }
  if (peers.far !== 'lost' && w.queues.st.length > 0) {
    on(w.queues.st[0]!, (next) => shift(next.queues, 'st'));
  }
  if (targetLink.near !== 'lost' && w.queues.ct.length > 0) {
    on(w.queues.ct[0]!, (next) => shift(next.queues, 'ct'));
  }
  if (peers.far === 'broken') {
    on('peerLost', (next) => {
      next.links.peers = { ...next.links.peers, far: 'lost' };
      next.queues.st = [];
    });
  }
  if (targetLink.near === 'broken') {
    on('coordinatorLost', (next) => {
      next.links.targetLink = { ...next.links.targetLink, near: 'lost' };
      next.queues.ct = [];
    });
  }
  const { phase, complete } = w.target;
  const served =
    w.up.source && w.stopped !== 'source' && ['released', 'serving'].includes(w.source.phase);
  const linked = peers.state === 'up' && peers.near === 'up' && peers.far === 'up';
  if (phase === 'running' && !complete && served && linked) on('allPresent');
  const late = cores.target.step(w.target, 'deadline');
  const { st, ts, tc, ct } = w.queues;
  const asked = st.length + ts.length + tc.length + ct.length > 0;
  const repeats = late.state.phase === phase;
  if (!late.ignored && !(repeats && asked)) on('deadline');
}

function coordinatorMoves(w: World, settings: Settings, add: Add): void {
  const { cores, discards = false } = settings;
  const on = (event: CoordinatorEvent, from: End, change: (next: World) => void): void =>
    add(`coordinator: ${event} from ${from}`, true, (next) => {
      change(next);
      stepCoordinator(next, cores, event, from);
    });
  if (w.queues.sc.length > 0) on(w.queues.sc[0]!, 'source', (next) => shift(next.queues, 'sc'));
  if (w.queues.tc.length > 0) on(w.queues.tc[0]!, 'target', (next) => shift(next.queues, 'tc'));
  // The supervisor reports over a connection of its own.
  const told = (next: World): void => {
    next.proofTold = true;
  };
  if (!w.proofTold && !w.up.source) on('sourceDied', 'coordinator', told);
  if (!w.proofTold && !w.up.target) {
    const proof = w.ran ? 'targetDiedRan' : 'targetDiedNotRan';
    on(discards ? 'targetDiscarded' : proof, 'coordinator', told);
  }
}

function linkMoves(w: World, { cores, heal }: Settings, add: Add): void {
  if (w.stopped !== '')
    add(`${w.stopped}: wakes`, true, (next) => {
      next.stopped = '';
    });
  if (heal && !w.up.coordinator) {
    add('coordinator: restarts', true, (next) => {
      next.up.coordinator = true;
      stepCoordinator(next, cores, 'restarted', 'coordinator');
    });
  }
  for (const name of LINKS) {
    const link = w.links[name];
    const [near, far] = ENDS[name];
    const both = w.up[near] && w.up[far] && w.stopped !== near && w.stopped !== far;
    const noticed = link.near === 'lost' && (link.far === 'lost' || far === 'coordinator');
    if (link.state === 'up' && (w.stopped === near || w.stopped === far)) {
      add(`${name}: silent, given up`, false, (next) => breakLink(next, name, 'quiet'));
    }
    if (link.state !== 'up' && both && noticed && (heal || link.state === 'quiet')) {
      add(`${name}: is back`, true, (next) => restore(next, cores, name));
    }
  }
  for (const [name, queue] of [
    ['sourceLink', 'sc'],
    ['targetLink', 'tc'],
  ] as const) {
    if (w.links[name].state !== 'up' && w.queues[queue].length > 0) {
      add(`${name}: in flight, lost`, true, (next) => {
        next.queues[queue] = [];
      });
    }
  }
}

function breakLink(w: World, name: LinkName, state: 'cut' | 'quiet'): void {
  const { near, far } = w.links[name];
  w.links[name] = {
    state,
    near: near === 'up' ? 'broken' : near,
    far: far === 'up' ? 'broken' : far,
  };
}

/** Both ends hear of it in the same step: the handshake is one exchange. */
function restore(w: World, cores: Cores, name: LinkName): void {
  w.links[name] = LINK_UP;
  if (name === 'peers') {
    stepSource(w, cores, 'peerBack');
    stepTarget(w, cores, 'peerBack');
  } else if (name === 'sourceLink') {
    w.queues.sc = [];
    stepSource(w, cores, 'coordinatorBack');
  } else {
    w.queues.tc = [];
    stepTarget(w, cores, 'coordinatorBack');
  }
}

function faultMoves(w: World, { cores, killsOnly = false }: Settings, add: Add): void {
  const fault = (label: string, change: (next: World) => void): void =>
    add(`fault: ${label}`, false, (next) => {
      next.faults--;
      change(next);
    });
  for (const end of ['source', 'target', 'coordinator'] as const) {
    if (!w.up[end]) continue;
    fault(`${end} killed`, (next) => kill(next, cores, end));
    if (w.stopped === '' && !killsOnly)
      fault(`${end} stopped`, (next) => {
        next.stopped = end;
      });
  }
  if (killsOnly) return;
  for (const name of LINKS) {
    if (w.links[name].state === 'up') {
      fault(`${name} cut`, (next) => breakLink(next, name, 'cut'));
    }
  }
  if (w.checking) {
    fault('manifest bad', (next) => {
      next.checking = false;
      stepTarget(next, cores, 'manifestBad');
    });
  }
  if (w.queues.ts[0] === 'landedGood') {
    fault('digest bad', (next) => {
      next.queues.ts = ['landedBad', ...next.queues.ts.slice(1)];
    });
  }
}

/**
 * Rule 2's exception. The source is the only holder until the target is complete and holds on to it;
 * and a source that had asked for the guest (CANCEL or DECIDE is out) has claimed it: its message may
 * arrive after its death and make the target drop a whole copy. The target owns what it runs.
 */
function holdsAlone(w: World, cores: Cores, end: End): boolean {
  if (end === 'coordinator') return false;
  if (end === 'target') return cores.target.phases[w.target.phase].guest === 'here';
  const safe = ['landed', 'asking', 'running', 'done'].includes(w.target.phase);
  const claimed = ['cancelling', 'asking', 'kept'].includes(w.source.phase);
  return !safe || !w.target.complete || (claimed && !w.ran);
}

function kill(w: World, cores: Cores, end: End): void {
  if (holdsAlone(w, cores, end)) w.ownerDied = true;
  w.up[end] = false;
  if (w.stopped === end) w.stopped = '';
  for (const name of LINKS) if (ENDS[name].includes(end)) breakLink(w, name, 'cut');
  if (end === 'coordinator') {
    w.queues.sc = [];
    w.queues.tc = [];
  }
}
