/**
 * The product walk: every state that source x target x coordinator can reach in the world of
 * walk-world.ts, breadth first, and the rules asked of each. Not a test; product.test.ts runs it.
 *
 *   never two     in no state may the harts of both ends execute (a stopped process counts: it wakes)
 *   no lost write the source does not go on with its image once the target has run the guest
 *   no page lost  the source gives memory back only when the target runs it and misses nothing
 *   never none    from nowhere can the world get stuck, or turn for ever, with nobody running the
 *                 guest, unless its holder was killed and that is reported
 *   all end       in a healing world, every end that is alive comes to a final phase
 *
 * The last two look at the bottom components of the graph without faults: sets of states that the
 * world never leaves once it is in. A world in which every move that stays possible is taken at last
 * ends in one of them.
 */
import { isSettled } from '../src/cores/mod.ts';
import { firstWorld, keyOf, type Settings, type World } from './walk-state.ts';
import { moves } from './walk-world.ts';

export type Rule = 'never two' | 'no lost write' | 'no page lost' | 'never none' | 'all end';

export interface Walk {
  readonly states: number;
  /** Each rule that was broken, with the shortest way there. */
  readonly broken: ReadonlyMap<Rule, readonly string[]>;
}

interface Graph {
  readonly worlds: World[];
  /** The move that found a state, and from which; the first state has none. */
  readonly parents: number[];
  readonly labels: string[];
  /** Successors by moves of progress. */
  readonly next: number[][];
}

export function walk(settings: Settings & { readonly liveness: boolean }): Walk {
  const graph: Graph = { worlds: [], parents: [], labels: [], next: [] };
  const broken = new Map<Rule, string[]>();
  const ids = new Map<string, number>();
  const note = (rule: Rule | undefined, id: number): void => {
    if (rule !== undefined && !broken.has(rule)) broken.set(rule, wayTo(graph, id));
  };
  const enter = (world: World, parent: number, label: string): number => {
    const key = keyOf(world);
    const known = ids.get(key);
    if (known !== undefined) return known;
    const id = graph.worlds.length;
    ids.set(key, id);
    graph.worlds.push(world);
    graph.parents.push(parent);
    graph.labels.push(label);
    graph.next.push([]);
    note(wrongAt(world, settings), id);
    return id;
  };
  enter(firstWorld(settings), -1, 'start');
  for (let id = 0; id < graph.worlds.length && broken.size === 0; id++) {
    for (const move of moves(graph.worlds[id]!, settings)) {
      const to = enter(move.next, id, move.label);
      if (move.progress && to !== id) graph.next[id]!.push(to);
    }
  }
  if (settings.liveness && broken.size === 0) {
    for (const id of bottomStates(graph.next)) note(wrongForEver(graph.worlds[id]!, settings), id);
  }
  return { states: graph.worlds.length, broken };
}

function runsAt(w: World, { cores }: Settings): { source: boolean; target: boolean } {
  return {
    source: w.up.source && cores.source.phases[w.source.phase].guest === 'here',
    target: w.up.target && cores.target.phases[w.target.phase].guest === 'here',
  };
}

function wrongAt(w: World, settings: Settings): Rule | undefined {
  const runs = runsAt(w, settings);
  if (runs.source && runs.target) return 'never two';
  if (runs.source && w.ran && !settings.discards) return 'no lost write';
  if (w.up.source && w.source.phase === 'freed' && !(w.ran && w.target.complete)) {
    return 'no page lost';
  }
  return undefined;
}

function wrongForEver(w: World, settings: Settings): Rule | undefined {
  const { cores, heal } = settings;
  const runs = runsAt(w, settings);
  const reported = w.ownerDied && isSettled(w.coordinator.phase);
  if (!runs.source && !runs.target && !reported) return 'never none';
  if (!heal) return undefined;
  const ended =
    (!w.up.source || cores.source.isFinal(w.source.phase) || w.source.phase === 'lost') &&
    (!w.up.target || cores.target.isFinal(w.target.phase)) &&
    isSettled(w.coordinator.phase);
  return ended ? undefined : 'all end';
}

function wayTo(graph: Graph, id: number): string[] {
  const way: string[] = [];
  for (let at = id; at >= 0; at = graph.parents[at]!) way.unshift(graph.labels[at]!);
  const { source, target, coordinator } = graph.worlds[id]!;
  way.push(`= source ${source.phase}, target ${target.phase}, coordinator ${coordinator.phase}`);
  return way;
}

/**
 * States in strongly connected components that no edge leaves (Tarjan's algorithm, with a stack of
 * its own: the graph is deeper than the call stack).
 */
export function bottomStates(next: readonly (readonly number[])[]): number[] {
  const index = new Int32Array(next.length).fill(-1);
  const low = new Int32Array(next.length);
  const component = new Int32Array(next.length).fill(-1);
  const edge = new Int32Array(next.length);
  const open: number[] = [];
  const bottom: number[] = [];
  let count = 0;
  let components = 0;

  function close(root: number): void {
    const members: number[] = [];
    for (let member = -1; member !== root; ) {
      member = open.pop()!;
      component[member] = components;
      members.push(member);
    }
    const leaves = members.some((m) => next[m]!.some((to) => component[to] !== components));
    if (!leaves) bottom.push(...members);
    components++;
  }

  for (let start = 0; start < next.length; start++) {
    if (index[start] !== -1) continue;
    const path = [start];
    while (path.length > 0) {
      const at = path.at(-1)!;
      if (index[at] === -1) {
        index[at] = low[at] = count++;
        open.push(at);
      }
      const to = next[at]![edge[at]!++];
      if (to === undefined) {
        path.pop();
        const parent = path.at(-1);
        if (parent !== undefined) low[parent] = Math.min(low[parent]!, low[at]!);
        if (low[at] === index[at]) close(at);
      } else if (index[to] === -1) {
        path.push(to);
      } else if (component[to] === -1) {
        low[at] = Math.min(low[at]!, index[to]!);
      }
    }
  }
  return bottom;
}
