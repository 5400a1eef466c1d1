/**
 * Control messages, all of them. One row each: tag, who sends it, on which connection, its fields in
 * wire order, one sentence. `codec.ts`, the types, PROTOCOL.md and the fuzzer derive from these
 * rows; a message that is not here does not exist. Tag 0 stays invalid. Page bytes do not travel
 * here (frames.ts).
 *
 *   connection   between                     dialled by
 *   agent        agent (or its supervisor) and coordinator    the agent
 *   peer         source's agent and target's agent, one a migration   the source
 *   console      a console client and the owner's agent       the client
 *
 * Times: `...Ns` are nanoseconds of the sender's monotonic clock, `...AtMs` Unix milliseconds.
 */
import {
  CAPABILITY_CHARS,
  CHANNELS_MAX,
  COMMAND_LINE_CHARS_MAX,
  CONSOLE_MESSAGE_BYTES_MAX,
  CONSOLE_RING_BYTES,
  ELF_BYTES_MAX,
  GUEST_PAGES_MAX,
  GUESTS_PER_HOST_MAX,
  HOLDERS_MAX,
  IMAGES_PER_HOST_MAX,
  MACHINE_STATE_BYTES_MAX,
  MIGRATIONS_PER_HOST_MAX,
  NAME_CHARS_MAX,
  NAME_PATTERN,
  ROUNDS_MAX,
  TEXT_CHARS_MAX,
} from './limits.ts';
import {
  bool,
  bytes,
  type Fields,
  type Infer,
  type InferFields,
  list,
  number,
  oneOf,
  optional,
  prose,
  record,
  text,
  u8,
  u16,
  u32,
  u53,
} from './schema.ts';

const name = text(NAME_CHARS_MAX, NAME_PATTERN);
const id = text(64);
const address = text(256);
const note = prose(TEXT_CHARS_MAX);
const capability = text(CAPABILITY_CHARS, /^[0-9a-f]{64}$/);
const mode = oneOf('precopy', 'postcopy', 'hybrid');
const side = oneOf('source', 'target');
const imageDigest = text(64, /^[0-9a-f]{64}$/);

export const errorData = record({ code: text(64), detail: text(TEXT_CHARS_MAX) });

/** What a guest is made from; travels to the target in the offer (without the program). */
export const guestSpec = record({
  name,
  kind: oneOf('machine', 'workload'),
  memoryBytes: u53,
  harts: u8,
  clock: oneOf('host', 'instructions'),
  /** Machine: where its program came from, for people. */
  image: optional(text(256)),
  /** Machine: what it boots from, and again at each reboot; absent: a program that came with the request. */
  imageDigest: optional(imageDigest),
  /** Machine: the kernel's command line instead of the image's own. */
  append: optional(text(COMMAND_LINE_CHARS_MAX)),
  /** Machine: stop all harts at exactly this instruction. */
  stopAt: optional(u53),
  workload: optional(
    record({
      pattern: oneOf('idle', 'uniform', 'hotset', 'sequential', 'write-burst'),
      content: oneOf('zero', 'random', 'compressible'),
      /** MiB/s of pages written; absent = as fast as it can. */
      rateMiBps: optional(number),
      hotPages: u32,
      seed: u32,
    }),
  ),
});
export type GuestSpec = Infer<typeof guestSpec>;

/**
 * A guest as one host sees it. `running`, `stopped` (by a person), `ended` (by itself), `creating`;
 * in a migration the phase of the core says more, `state` then is running | stopped | incoming |
 * frozen (pages still served) | lost | doubt.
 */
export const guestReport = record({
  spec: guestSpec,
  epoch: u53,
  state: oneOf('creating', 'running', 'stopped', 'ended', 'incoming', 'frozen', 'doubt', 'lost'),
  migration: optional(id),
  phase: optional(text(32)),
  instructions: u53,
  /** Workload: writes done, summed over its harts; what the witness keeps. */
  writes: u53,
  dirtyBytesPerS: number,
  workingSetPages: u32,
  createdAtMs: u53,
  /** In a post-copy: why missing pages do not come, while they do not. */
  trouble: optional(note),
  /** Why and with what code it ended by itself. */
  end: optional(record({ why: text(64), code: u32 })),
  /** Digest at the stop, when `stopAt` was reached. */
  digest: optional(text(128)),
});
export type GuestReport = Infer<typeof guestReport>;

/** A migration as one agent holds it, open or ended; what a restarted coordinator takes it up from. */
export const migrationReport = record({
  migration: id,
  guest: name,
  role: side,
  epoch: u53,
  phase: text(32),
  /** Source: the round whose report waits for a decision. */
  waitingRound: optional(u32),
  /** Target: RAN is journalled. */
  ran: bool,
  /** Target, running: why missing pages do not come, while they do not. */
  trouble: optional(note),
});
export type MigrationReport = Infer<typeof migrationReport>;

/** Proof that an incarnation ended, with what its journal says it had begun to run. */
export const deathReport = record({
  incarnation: id,
  exit: text(256),
  /** (guest, epoch) for which RAN was journalled. */
  ran: list(record({ guest: name, epoch: u53 }), GUESTS_PER_HOST_MAX),
  /** Guests that incarnation held as owner, by its journal. */
  owned: list(record({ guest: name, epoch: u53 }), GUESTS_PER_HOST_MAX),
});
export type DeathReport = Infer<typeof deathReport>;

const peer = record({ host: name, incarnation: id, address });

/** What the policy looks at, measured by the source. */
export const roundReport = {
  migration: id,
  round: u32,
  pages: u32,
  zeroPages: u32,
  /** Bytes on the wire, headers included. */
  bytes: u53,
  copiedBytes: u53,
  durationMs: number,
  /** Dirty now, at the round's end. */
  remainingPages: u32,
  dirtyBytesPerS: number,
  bandwidthBytesPerS: number,
} as const;

/** Downtime split by step, milliseconds. */
export const downtimeSteps = record({
  stopMs: number,
  lastPagesMs: number,
  stateMs: number,
  landedMs: number,
  runMs: number,
});
export type DowntimeSteps = Infer<typeof downtimeSteps>;

interface Row {
  readonly tag: number;
  readonly on: 'agent' | 'peer' | 'console';
  readonly from: 'agent' | 'coordinator' | 'source' | 'target' | 'both' | 'client';
  readonly fields: Fields;
  readonly what: string;
}

export const MESSAGES = {
  // ---------------------------------------------------------------- agent <-> coordinator: life
  hello: {
    tag: 1,
    on: 'agent',
    from: 'agent',
    fields: {
      version: u32,
      role: oneOf('agent', 'supervisor'),
      host: name,
      incarnation: id,
      /** Where peers and consoles reach this agent; the host part may be empty: as seen by the coordinator. */
      address,
      cores: u16,
      memoryBytes: u53,
      freeBytes: u53,
      pid: u32,
      termSeen: u53,
      storeId: optional(id),
      storeRev: u53,
      guests: list(guestReport, GUESTS_PER_HOST_MAX),
      migrations: list(migrationReport, MIGRATIONS_PER_HOST_MAX),
      deaths: list(deathReport, 64),
    },
    what: 'First message of an agent or its supervisor: who it is, what it holds, whose end it can prove.',
  },
  welcome: {
    tag: 2,
    on: 'agent',
    from: 'coordinator',
    fields: { term: u53, storeId: id, storeRev: u53, heartbeatMs: u32, address },
    what: 'The coordinator takes the agent in; `address` is how it is seen.',
  },
  turnedAway: {
    tag: 3,
    on: 'agent',
    from: 'coordinator',
    fields: { error: errorData },
    what: 'The hello is refused; the connection closes.',
  },
  heartbeat: {
    tag: 4,
    on: 'agent',
    from: 'agent',
    fields: {
      freeBytes: u53,
      rssBytes: u53,
      poolBytes: u53,
      descriptors: u32,
      guests: list(guestReport, GUESTS_PER_HOST_MAX),
    },
    what: 'Every 500 ms, and at once when a guest changed its state.',
  },
  pulse: {
    tag: 5,
    on: 'agent',
    from: 'coordinator',
    fields: { term: u53, storeRev: u53 },
    what: 'The coordinator is there.',
  },
  died: {
    tag: 6,
    on: 'agent',
    from: 'agent',
    fields: { death: deathReport },
    what: 'From a supervisor: its daemon ended; proof of death.',
  },
  guestEvent: {
    tag: 7,
    on: 'agent',
    from: 'agent',
    fields: {
      guest: name,
      epoch: u53,
      event: oneOf('powerOff', 'reboot', 'exit', 'crash', 'stopAt'),
      code: u32,
      digest: optional(text(128)),
    },
    what: "Something in the guest's own life, reported by its owner.",
  },

  leaving: {
    tag: 8,
    on: 'agent',
    from: 'agent',
    fields: {},
    what: 'This host is about to end: its guests are to go elsewhere; repeated after a reconnect.',
  },
  leave: {
    tag: 9,
    on: 'agent',
    from: 'coordinator',
    fields: { moved: u32, left: u32, isOver: bool, note: note },
    what: 'How far that is; `isOver`: nothing more will move, whatever is left.',
  },

  // --------------------------------------------------------- coordinator -> agent: requests
  createGuest: {
    tag: 16,
    on: 'agent',
    from: 'coordinator',
    fields: {
      request: u32,
      spec: guestSpec,
      epoch: u53,
      elf: optional(bytes(ELF_BYTES_MAX)),
      /** Agents that hold its image, for one that does not. */
      imageFrom: optional(list(address, HOLDERS_MAX)),
    },
    what: 'Make a guest and run it.',
  },
  stopGuest: {
    tag: 17,
    on: 'agent',
    from: 'coordinator',
    fields: { request: u32, guest: name, epoch: u53 },
    what: 'Stop its harts for good; memory stays until removeGuest.',
  },
  removeGuest: {
    tag: 18,
    on: 'agent',
    from: 'coordinator',
    fields: { request: u32, guest: name, epoch: u53 },
    what: 'Forget a stopped or ended guest, give its memory back.',
  },
  discardGuest: {
    tag: 19,
    on: 'agent',
    from: 'coordinator',
    fields: { request: u32, guest: name, epoch: u53 },
    what: 'A person gives up frozen pages or a stale image of an older epoch.',
  },
  auditGuest: {
    tag: 20,
    on: 'agent',
    from: 'coordinator',
    fields: { request: u32, guest: name, epoch: u53, witnessWrites: u53 },
    what: 'Stop the workload for a moment and check every page against its seed and its count of writes.',
  },
  setRate: {
    tag: 21,
    on: 'agent',
    from: 'coordinator',
    fields: { request: u32, guest: name, epoch: u53, rateMiBps: optional(number) },
    what: 'New write rate of a workload; absent = as fast as it can.',
  },
  shutdown: {
    tag: 22,
    on: 'agent',
    from: 'coordinator',
    fields: { request: u32 },
    what: 'End, with all guests: the whole cluster is being stopped.',
  },
  checkpointGuest: {
    tag: 26,
    on: 'agent',
    from: 'coordinator',
    fields: { request: u32, guest: name, epoch: u53, checkpoint: name },
    what: 'Stop the guest for a moment and write it to a file of this host.',
  },
  describeCheckpoint: {
    tag: 27,
    on: 'agent',
    from: 'coordinator',
    fields: { request: u32, checkpoint: name },
    what: 'Say which guest, of which epoch, a file of this host holds.',
  },
  restoreGuest: {
    tag: 28,
    on: 'agent',
    from: 'coordinator',
    fields: { request: u32, spec: guestSpec, epoch: u53, checkpoint: name },
    what: 'Make a guest of what a file of this host holds, under a new epoch, and run it.',
  },
  done: {
    tag: 23,
    on: 'agent',
    from: 'agent',
    fields: {
      request: u32,
      guest: optional(guestReport),
      audit: optional(
        record({
          pages: u32,
          wrong: u32,
          writes: u53,
          durationMs: number,
          firstWrong: optional(note),
        }),
      ),
      checkpoint: optional(
        record({
          spec: guestSpec,
          epoch: u53,
          path: text(4096),
          fileBytes: u53,
          /** When it was written just now: how long the guest stood, and the digest of the file. */
          pausedMs: optional(number),
          digest: optional(text(128)),
        }),
      ),
      reservedMs: optional(number),
    },
    what: 'A request was carried out.',
  },
  failed: {
    tag: 24,
    on: 'agent',
    from: 'agent',
    fields: { request: u32, error: errorData },
    what: 'A request was not carried out; nothing changed.',
  },
  quarantine: {
    tag: 25,
    on: 'agent',
    from: 'coordinator',
    fields: { guest: name, epoch: u53, ownerHost: name, ownerEpoch: u53 },
    what: 'This epoch of the guest is closed: never run it again; the image stays until a person discards it.',
  },

  images: {
    tag: 30,
    on: 'agent',
    from: 'agent',
    fields: {
      images: list(record({ digest: imageDigest, names: list(name, 16) }), IMAGES_PER_HOST_MAX),
    },
    what: 'Which images this host holds; after the welcome, and when that changed.',
  },
  fetchImage: {
    tag: 31,
    on: 'agent',
    from: 'coordinator',
    fields: { request: u32, digest: imageDigest, from: list(address, HOLDERS_MAX) },
    what: 'A guest came here whose image is not here: fetch it for its next reboot, without haste.',
  },

  // ------------------------------------------------------------ agent <-> coordinator: migration
  grant: {
    tag: 32,
    on: 'agent',
    from: 'coordinator',
    fields: {
      request: u32,
      migration: id,
      role: side,
      spec: guestSpec,
      epoch: u53,
      source: peer,
      target: peer,
      capability,
      mode,
      channels: { type: 'uint', max: CHANNELS_MAX } as const,
      maxBandwidthBytesPerS: number,
      maxDowntimeMs: number,
      verify: bool,
    },
    what: 'Leave to move the guest, given to both ends before the rounds; the target reserves memory first.',
  },
  roundReport: {
    tag: 33,
    on: 'agent',
    from: 'agent',
    fields: roundReport,
    what: 'Source: a round is over; repeated after a reconnect until decided.',
  },
  decision: {
    tag: 34,
    on: 'agent',
    from: 'coordinator',
    fields: {
      migration: id,
      round: u32,
      action: oneOf('again', 'stopAndCopy', 'postcopy', 'giveUp'),
      throttlePermille: u16,
      reason: note,
    },
    what: 'What the source does after that round, and why.',
  },
  cancelMigration: {
    tag: 35,
    on: 'agent',
    from: 'coordinator',
    fields: { migration: id, reason: note },
    what: 'Legal until RUN is sent; the answer is `kept`, or `running` when it came too late.',
  },
  progress: {
    tag: 36,
    on: 'agent',
    from: 'agent',
    fields: {
      migration: id,
      round: u32,
      pagesSent: u32,
      pagesTotal: u32,
      bytes: u53,
      bytesPerS: number,
      faults: u32,
      remainingPages: u32,
    },
    what: 'Four times a second while pages move; for people.',
  },
  phase: {
    tag: 37,
    on: 'agent',
    from: 'agent',
    fields: {
      migration: id,
      role: side,
      phase: text(32),
      epoch: u53,
      atMs: number,
      /** The same moment on the monotonic clock, by which both ends can be put on one axis. */
      atNs: u53,
      note: note,
    },
    what: 'A core changed its phase.',
  },
  running: {
    tag: 38,
    on: 'agent',
    from: 'agent',
    fields: { migration: id, guest: name, epoch: u53, missingPages: u32, atMs: number },
    what: 'Target: the guest executes here.',
  },
  refused: {
    tag: 39,
    on: 'agent',
    from: 'agent',
    fields: { migration: id, guest: name, epoch: u53, reason: note },
    what: 'Target: it will never run here under this epoch.',
  },
  kept: {
    tag: 40,
    on: 'agent',
    from: 'agent',
    fields: { migration: id, guest: name, epoch: u53, reason: note, error: optional(errorData) },
    what: 'Source: the guest runs here, under this epoch; the migration is over.',
  },
  allPresent: {
    tag: 41,
    on: 'agent',
    from: 'agent',
    fields: {
      migration: id,
      guest: name,
      epoch: u53,
      verified: bool,
      faults: u32,
      faultP50Us: number,
      faultP99Us: number,
      longestStallMs: number,
      atMs: number,
    },
    what: 'Target: no page is missing any more.',
  },
  freed: {
    tag: 42,
    on: 'agent',
    from: 'agent',
    fields: {
      migration: id,
      guest: name,
      epoch: u53,
      rounds: { type: 'uint', max: ROUNDS_MAX } as const,
      pages: u53,
      zeroPages: u53,
      bytes: u53,
      copiedBytes: u53,
      transferMs: number,
      totalMs: number,
      downtimeMs: number,
      steps: downtimeSteps,
      clockOffsetMs: number,
      /** At most so far is the offset from the truth: half the shortest round trip. */
      clockErrorMs: number,
      verifyMs: number,
    },
    what: 'Source: its memory is given back; the migration is complete, with its figures.',
  },
  decide: {
    tag: 43,
    on: 'agent',
    from: 'agent',
    fields: { migration: id, guest: name, epoch: u53, wants: side, complete: bool },
    what: 'In doubt: asks for the durable verdict, first writer wins.',
  },
  verdict: {
    tag: 44,
    on: 'agent',
    from: 'coordinator',
    fields: {
      migration: id,
      guest: name,
      epoch: u53,
      owner: oneOf('source', 'target', 'superseded'),
      ownerHost: optional(name),
      ownerEpoch: optional(u53),
    },
    what: 'The answer; superseded = this epoch is closed, the guest belongs to ownerHost.',
  },
  query: {
    tag: 45,
    on: 'agent',
    from: 'agent',
    fields: { migration: id, guest: name, epoch: u53 },
    what: 'What is known of this handover?',
  },
  answer: {
    tag: 46,
    on: 'agent',
    from: 'coordinator',
    fields: {
      migration: id,
      guest: name,
      epoch: u53,
      verdict: oneOf('none', 'source', 'target', 'superseded'),
      runningSeen: bool,
      peerDeath: oneOf('none', 'ran', 'notRan', 'discarded'),
      evidence: note,
      allPresentSeen: bool,
      refusedSeen: bool,
    },
    what: "What the coordinator knows: verdict, RUNNING, ALL_PRESENT or REFUSED seen, proof of the other end's death. Also sent unasked, when an end may have missed it.",
  },
  proof: {
    tag: 47,
    on: 'agent',
    from: 'coordinator',
    fields: {
      migration: id,
      guest: name,
      epoch: u53,
      dead: side,
      ran: bool,
      evidence: note,
      /** A person fenced that host and gives up whatever it did. */
      discarded: bool,
    },
    what: 'The other end of this migration has provably died.',
  },
  lost: {
    tag: 48,
    on: 'agent',
    from: 'agent',
    fields: { migration: id, guest: name, epoch: u53, evidence: note },
    what: 'The guest cannot run any more, and why.',
  },
  atStep: {
    tag: 49,
    on: 'agent',
    from: 'agent',
    fields: { migration: id, step: text(64) },
    what: 'Only under --test-faults: a runner stands at this named step.',
  },

  // ------------------------------------------------------------------------- source <-> target
  peerHello: {
    tag: 64,
    on: 'peer',
    from: 'source',
    fields: { version: u32, migration: id, capability, host: name, incarnation: id, resume: bool },
    what: 'First message between two agents; `resume` after a broken link.',
  },
  peerWelcome: {
    tag: 65,
    on: 'peer',
    from: 'target',
    fields: { version: u32, host: name, incarnation: id, phase: text(32) },
    what: 'The target knows this migration; its phase.',
  },
  offer: {
    tag: 66,
    on: 'peer',
    from: 'source',
    fields: {
      pages: { type: 'uint', max: GUEST_PAGES_MAX } as const,
      harts: u8,
      stateVersion: u32,
      pageHost: address,
      pagePorts: list(u16, CHANNELS_MAX),
      faultsPort: u16,
      readKey: u32,
    },
    what: 'What will come, and where the page channels listen; faultsPort is 0 in a pre-copy, which has no faults channel.',
  },
  accept: {
    tag: 67,
    on: 'peer',
    from: 'target',
    fields: { writeKey: u32, landKey: u32 },
    what: 'Memory is reserved and touched, all channels are attached; keys for rounds and post-copy.',
  },
  handover: {
    tag: 68,
    on: 'peer',
    from: 'source',
    fields: {
      epoch: u53,
      /** Pages covered by each round's frames; the target compares. */
      manifest: list(u32, ROUNDS_MAX),
      /** 1 bit a page, little-endian words; empty when nothing is missing. */
      missing: bytes(GUEST_PAGES_MAX / 8),
      missingPages: u32,
      state: bytes(MACHINE_STATE_BYTES_MAX),
      digest: text(128),
      /** With --verify: 8 bytes for each page of the guest, in order; else empty. */
      pageHashes: bytes(GUEST_PAGES_MAX * 8),
      stoppedNs: u53,
    },
    what: 'The guest is stopped here; this is the rest of it. Conditional: the target must not run yet.',
  },
  landed: {
    tag: 69,
    on: 'peer',
    from: 'target',
    fields: { epoch: u53, digest: text(128), complete: bool, atNs: u53 },
    what: 'All of it is here and checked.',
  },
  run: {
    tag: 70,
    on: 'peer',
    from: 'source',
    fields: { epoch: u53 },
    what: 'The point of no return.',
  },
  peerRunning: {
    tag: 71,
    on: 'peer',
    from: 'target',
    fields: { epoch: u53, firstInstructionNs: u53, runReceivedNs: u53 },
    what: 'The guest executes at the target.',
  },
  peerRefused: {
    tag: 72,
    on: 'peer',
    from: 'target',
    fields: { epoch: u53, error: errorData },
    what: 'It will never run here; final for this incarnation.',
  },
  peerAllPresent: {
    tag: 73,
    on: 'peer',
    from: 'target',
    fields: { epoch: u53, faults: u32 },
    what: 'The source may free the guest.',
  },
  cancel: {
    tag: 74,
    on: 'peer',
    from: 'source',
    fields: { epoch: u53, reason: note },
    what: 'Drop it; answered by peerRefused, also when it was dropped before.',
  },
  peerQuery: {
    tag: 75,
    on: 'peer',
    from: 'both',
    fields: { epoch: u53 },
    what: 'In which phase are you?',
  },
  peerAnswer: {
    tag: 76,
    on: 'peer',
    from: 'both',
    fields: { epoch: u53, phase: text(32) },
    what: 'The phase.',
  },
  ping: {
    tag: 77,
    on: 'peer',
    from: 'both',
    fields: { sentNs: u53 },
    what: 'Link heartbeat and clock measurement (NTP, RFC 5905 section 8).',
  },
  pong: {
    tag: 78,
    on: 'peer',
    from: 'both',
    fields: { sentNs: u53, receivedNs: u53 },
    what: 'The answer, with the time it was received.',
  },

  // -------------------------------------------------------------------------- console <-> agent
  consoleAttach: {
    tag: 96,
    on: 'console',
    from: 'client',
    fields: {
      guest: name,
      outputOffset: optional(u53),
      inputOffset: optional(u53),
      /** A random name of this client, so that it is known again after a break. */
      client: optional(id),
      /** One client types (the default), any number watch; `take` ends the one that types. */
      access: optional(oneOf('type', 'take', 'watch')),
    },
    what: 'Reads output from this offset (absent: what the ring still holds), writes input from that.',
  },
  consoleAttached: {
    tag: 97,
    on: 'console',
    from: 'agent',
    fields: {
      epoch: u53,
      outputOffset: u53,
      inputOffset: u53,
      /** Nobody else typed since this client did, as far as this host knows. */
      continues: bool,
    },
    what: 'Where output starts, and the input offset that is expected next.',
  },
  consoleInput: {
    tag: 98,
    on: 'console',
    from: 'client',
    fields: { offset: u53, bytes: bytes(CONSOLE_MESSAGE_BYTES_MAX) },
    what: 'Bytes for the guest; those below the offset already taken are dropped.',
  },
  consoleTaken: {
    tag: 99,
    on: 'console',
    from: 'agent',
    fields: { epoch: u53, offset: u53 },
    what: "Input below this offset is in the guest's machine state and need not be resent.",
  },
  consoleOutput: {
    tag: 100,
    on: 'console',
    from: 'agent',
    fields: { epoch: u53, offset: u53, bytes: bytes(CONSOLE_RING_BYTES) },
    what: 'Bytes from the guest; those of an older epoch are dropped by the client.',
  },
  consoleAcknowledged: {
    tag: 101,
    on: 'console',
    from: 'client',
    fields: { offset: u53 },
    what: 'Output below this offset was read.',
  },
  consoleMoved: {
    tag: 102,
    on: 'console',
    from: 'agent',
    fields: { epoch: u53, host: name, address },
    what: 'The guest runs elsewhere now.',
  },
  consoleEnded: {
    tag: 103,
    on: 'console',
    from: 'agent',
    fields: { why: note, code: u32 },
    what: 'The guest ended; nothing more will come.',
  },
} as const satisfies { readonly [name: string]: Row };

export type MessageName = keyof typeof MESSAGES;

/** A message as code sees it: its fields and its `type`. */
export type Message<N extends MessageName = MessageName> = {
  [M in N]: { type: M } & InferFields<(typeof MESSAGES)[M]['fields']>;
}[N];

export type Mode = 'precopy' | 'postcopy' | 'hybrid';
export type Side = 'source' | 'target';
export type RoundReport = InferFields<typeof roundReport>;
