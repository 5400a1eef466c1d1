/**
 * How much may move at once, and how long something may stand in line: every number with its reason.
 *
 *   `migration limits`, the store --> [limits] --> line (who may start), drains, predictions
 *
 * The two that depend on a person's machines are settings (kept in the store); the others are not,
 * because no measurement has asked for it.
 */
import type { MoveLimits } from '@godwit/protocol';

/**
 * Moves a host takes part in, as source or target. Two keep the link busy while one of them stops,
 * reserves or hands over; each more halves the bandwidth of all, which makes every one of them dirty
 * more pages a round and none of them end earlier.
 */
export const MOVES_PER_HOST_DEFAULT = 2;
/**
 * Moves of the whole cluster: what a network that all hosts share may be asked to carry. Eight
 * at 10 Gbit/s fill one 100 Gbit/s spine; a larger cluster raises it.
 */
export const MOVES_PER_CLUSTER_DEFAULT = 8;

export const MOVE_LIMITS_DEFAULT: MoveLimits = {
  perHost: MOVES_PER_HOST_DEFAULT,
  perCluster: MOVES_PER_CLUSTER_DEFAULT,
};

/**
 * Moves in line, cluster-wide: a drain of a host with as many guests as a host can have, four times.
 * Each costs about 2 KiB of memory and of the store.
 */
export const LINE_MAX = 16_384;
/**
 * Shares of the line: a flow of high priority gets 4 starts where one of normal gets 1, and so
 * on. A larger step comes close to "always first", which is what starves the rest.
 */
export const PRIORITY_WEIGHTS = { low: 1, normal: 4, high: 16 } as const;
/**
 * Times a move may be passed by later ones that take a slot of its hosts. 0 would leave slots empty
 * whenever the first in line waits for a host of its own; larger lets it wait longer behind them.
 */
export const PASSES_MAX = 8;
/** A host in line that is away or short of memory may come back; after this the move is given up. */
export const HINDERED_MAX_MS = 30_000;

/** Moves one drain tries for a guest before it leaves it where it is: three targets that failed. */
export const DRAIN_ATTEMPTS_MAX = 3;
/**
 * A drain in which nothing moves and nothing can be placed ends after this, naming what it left. Long
 * enough for an agent that is started again, short enough for the person who waits for the answer.
 */
export const DRAIN_PATIENCE_MS = 10_000;
/** How often line and drains look at what no message tells them: memory that came free, silence. */
export const LOOK_AGAIN_MS = 500;
/** Guests put into the line by one transaction: a kill in the middle of a drain loses none of it. */
export const ENQUEUE_BATCH = 64;
