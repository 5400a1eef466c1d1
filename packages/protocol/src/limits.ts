/**
 * Every limit and deadline of the protocol, each with its reason, and the relations between them.
 *
 * A number that two ends must agree on, or that protects one end from the other, stands here and
 * nowhere else. What grows or breaks when it is doubled stands beside it.
 */

/** Wire version; the first field of every hello. Raised when a message or a frame changes meaning. */
export const PROTOCOL_VERSION = 1;

// ---------------------------------------------------------------------------------------- guests

export const PAGE_BYTES = 4096;
/** 3.75 GiB: what a 32-bit memory holds beside the tables of the memory contract. */
export const GUEST_PAGES_MAX = 983_040;
export const GUEST_HARTS_MAX = 8;
/** A host name label (RFC 1123), because guests and hosts become names in a network sooner or later. */
export const NAME_CHARS_MAX = 63;
export const NAME_PATTERN = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** Machine state is registers, devices and rings; 8 MiB is 100 times what 8 harts need. */
export const MACHINE_STATE_BYTES_MAX = 8 * 1024 * 1024;
/** A program for a bare-metal guest, sent whole in one control message. */
export const ELF_BYTES_MAX = 32 * 1024 * 1024;

// ---------------------------------------------------------------------------------------- images

/** A kernel or an initrd: a quarter of the largest guest, so that one that fits boots. */
export const IMAGE_FILE_BYTES_MAX = 960 * 1024 * 1024;
/** A manifest is names, digests and versions of a few packages. */
export const IMAGE_MANIFEST_BYTES_MAX = 64 * 1024;
/** Bytes of the kernel's command line, without the final zero (COMMAND_LINE_SIZE of riscv Linux). */
export const COMMAND_LINE_CHARS_MAX = 1023;
/** Images one host tells of; the newest, when it has more. */
export const IMAGES_PER_HOST_MAX = 256;
/** Hosts named to one that lacks an image; it tries them in order. */
export const HOLDERS_MAX = 16;

// --------------------------------------------------------------------------------- page channels

/** More channels than cores only add context switches; 16 leaves room for larger machines. */
export const CHANNELS_MAX = 16;
export const CHANNELS_DEFAULT = 2;
/**
 * Pages a channel claims at once: 3 MiB, of which the kernel takes a whole one into a socket whose buffer may
 * grow to the usual 4. A stripe is the unit of claiming, of loss and of credit. A frame costs both ends a tenth
 * of a millisecond whatever it carries, so at two thirds of it a gigabyte takes a twentieth longer; at four
 * thirds the kernel takes it in two pieces, and the last stripe of a round keeps one channel busy longer
 * while the others wait.
 */
export const STRIPE_PAGES = 768;
/** A run this long is written by reference and landed in place; shorter ones are gathered. */
export const RUN_PAGES_BY_REFERENCE = 16;
/** Pages of one frame, at most a stripe. */
export const FRAME_PAGES_MAX = STRIPE_PAGES;
/**
 * Pages of one ZERO frame, which carries none of them: half of what credit lets a target swallow, since a
 * target may have to write them all before it reads on. Larger, and a thread is away for milliseconds.
 */
export const ZERO_PAGES_MAX = 2048;
/** Runs of one frame: every second page of a stripe. */
export const FRAME_RUNS_MAX = STRIPE_PAGES / 2;
export const FRAME_HEADER_BYTES = 32;
/** Descriptor of one run: first page and count. */
export const RUN_BYTES = 8;
export const FRAME_PAYLOAD_BYTES_MAX = FRAME_PAGES_MAX * PAGE_BYTES + FRAME_RUNS_MAX * RUN_BYTES;
/**
 * Bytes a page channel may have unacknowledged in a round. Throughput is at most credit / round
 * trip: 16 MiB, five frames, carries 2.5 GB/s over 6 ms. It also bounds what the source's process can
 * queue.
 */
export const CREDIT_BYTES = 16 * 1024 * 1024;
/** The same while the guest runs at the target: a fault must not wait behind more than this. */
export const PUSH_CREDIT_BYTES = 256 * 1024;
/** Pages of one pushed frame in post-copy, so that a frame is a quarter of the credit. */
export const PUSH_PAGES_MAX = 16;
/** Pages one READ asks for: the fault, and what lies around it. */
export const READ_PAGES_MAX = 16;
/** A channel that died this often in one migration is given up, and the migration with it. */
export const CHANNEL_GENERATIONS_MAX = 64;

// ------------------------------------------------------------------------------- control messages

/** HANDOVER carries a bitmap, machine state and, when verified, 8 bytes a missing page. */
export const CONTROL_MESSAGE_BYTES_MAX = 48 * 1024 * 1024;
/**
 * The first message of a peer or a console, which says who it is: versions, names, a capability. Until it is
 * read anybody may be there, so what one connection can make us hold is this and what one read of it brings.
 */
export const FIRST_MESSAGE_BYTES_MAX = 1024;
export const TEXT_CHARS_MAX = 4096;
export const GUESTS_PER_HOST_MAX = 4096;
/**
 * Migrations told in one hello: every one that is open at the agent, and of those that ended the newest,
 * whose ends the coordinator may not have heard of. An agent with so many open that there would be no
 * room for such news (MOVES_PER_HOST_MAX) takes no other.
 */
export const MIGRATIONS_PER_HOST_MAX = 256;
export const ROUNDS_MAX = 100_000;
/** 256-bit random number in hex. */
export const CAPABILITY_CHARS = 64;
export const CONSOLE_RING_BYTES = 65_536;
export const CONSOLE_MESSAGE_BYTES_MAX = 65_536;

// ------------------------------------------------------------------------------------- deadlines
// A deadline starts a question; only a message or a verdict answers it (design rule 6).

/** Silence on a control connection before it is taken for broken and dialled again. */
export const LINK_SILENCE_MS = 2_000;
/** How often each end of a control connection says something. */
export const HEARTBEAT_MS = 500;
/** Silence of a host before its guests are shown as unreachable. */
export const UNREACHABLE_MS = 5_000;
/** Target: from LANDED to RUN before it asks. */
export const LANDED_DEADLINE_MS = 300;
/** Source: from HANDOVER to LANDED, beyond the expected transfer, before it asks. Longer than the target's. */
export const OFFERED_DEADLINE_MS = 500;
/** How long a question waits for its answer before it is asked again. */
export const ASK_AGAIN_MS = 250;
/** Target: no frame of a round and no word from the source for this long: dropped. */
export const LANDING_DEADLINE_MS = 10_000;
/** Harts reach a safepoint within 0.3 ms; a machine that is swapped or stopped may need longer. */
export const STOP_DEADLINE_MS = 5_000;
/** What came before under a guest's name at a target is dropped by then: its sockets closed, its threads ended. */
export const VACATE_DEADLINE_MS = 5_000;
/** Reserving and touching 3.75 GiB of cold memory at 0.3 GB/s. */
export const RESERVE_DEADLINE_MS = 30_000;
export const CONNECT_DEADLINE_MS = 3_000;
/** Coordinator to agent: an ordinary request. */
export const REQUEST_DEADLINE_MS = 10_000;
/** First and longest pause between attempts to reconnect; jitter of half is added. */
export const RECONNECT_FIRST_MS = 50;
export const RECONNECT_MAX_MS = 1_000;

// -------------------------------------------------------------------------------------- HTTP API

/** First part of every path. Raised when a client of before would break; adding a field is not that. */
export const API_VERSION = 1;
/** In every answer; a client that sends it with another number is refused before anything else. */
export const API_VERSION_HEADER = 'godwit-api-version';
/** The event stream says something this often; silence for twice as long is a connection that is gone. */
export const EVENTS_ALIVE_MS = 15_000;

// ---------------------------------------------------------------------------------------- policy

export const DOWNTIME_TARGET_MS_DEFAULT = 300;
export const ROUNDS_LIMIT_DEFAULT = 30;
/** Moves at once that a person may allow: more page sockets and reservations than were ever tried. */
export const MOVES_PER_HOST_MAX = 64;
export const MOVES_PER_CLUSTER_MAX = 4_096;

function relation(holds: boolean, why: string): void {
  if (!holds) throw new Error(`limits.ts contradicts itself: ${why}`);
}
relation(STRIPE_PAGES % 32 === 0, 'a stripe is whole bitmap words');
relation(FRAME_PAYLOAD_BYTES_MAX <= CREDIT_BYTES, 'a frame that exceeds the credit is never sent');
relation(
  ZERO_PAGES_MAX * PAGE_BYTES <= CREDIT_BYTES,
  'a ZERO frame writes no more than the credit',
);
relation(ZERO_PAGES_MAX >= STRIPE_PAGES, 'a stripe of zeros is one frame');
relation(PUSH_PAGES_MAX * PAGE_BYTES <= PUSH_CREDIT_BYTES, 'likewise for a pushed frame');
relation(LANDED_DEADLINE_MS < OFFERED_DEADLINE_MS, 'the target asks before the source');
relation(HEARTBEAT_MS * 3 <= LINK_SILENCE_MS, 'two lost heartbeats are no silence');
relation(
  2 * MOVES_PER_HOST_MAX <= MIGRATIONS_PER_HOST_MAX,
  'a hello has room for as many moves as may be open, and for as many ends that are news',
);
relation(LINK_SILENCE_MS < UNREACHABLE_MS, 'a link is dialled again before its host is given up');
