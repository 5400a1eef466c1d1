/**
 * Every way to fail, in one table.
 *
 * `fault` says who has to change something, `exit` is the command line's exit code, `text` makes the
 * message from this error's own detail (never from its cause; the log prints the chain), `hint` the
 * next step. PROTOCOL.md's list, exit codes and hints are read from here.
 */

interface ErrorDetail {
  'wire.truncated': { what: string; expectedBytes: number; receivedBytes: number };
  'wire.unknown_message': { tag: number };
  'wire.bad_field': { message: string; field: string; why: string };
  'wire.bad_frame': { why: string };
  'wire.wrong_direction': { message: string };
  'wire.too_large': { what: string; bytes: number; bytesMax: number };
  'wire.version': { ours: number; theirs: number };
  'channel.early_data': { channel: number };
  'channel.refused': { address: string; why: string };
  'channel.lost': { channel: number; pagesUnacknowledged: number };
  'channel.protection': { channel: number; key: number; why: string };
  'peer.unreachable': { address: string; why: string };
  'peer.capability': { migration: string };
  'auth.token': { why: string };
  'auth.token_file': { path: string; why: string };
  'auth.loopback_only': { address: string };
  'guest.not_found': { guest: string; known: string };
  'guest.exists': { guest: string; host: string };
  'guest.busy': { guest: string; migration: string };
  'checkpoint.exists': { checkpoint: string; host: string };
  'checkpoint.not_found': { checkpoint: string; host: string; path: string };
  'checkpoint.not_written': { why: string };
  'checkpoint.damaged': { why: string };
  'guest.not_running': { guest: string; state: string };
  'guest.running': { guest: string; host: string };
  'guest.ended': { guest: string };
  'guest.bad_name': { name: string };
  'guest.bad_spec': { why: string };
  'guest.stopped_late': { guest: string; waitedMs: number };
  'guest.console_busy': { guest: string };
  'image.not_found': { image: string; known: string };
  'image.exists': { name: string; digest: string };
  'image.in_use': { image: string; guests: string };
  'image.bad_kernel': { path: string; why: string };
  'image.bad_initrd': { path: string; why: string };
  'image.bad_archive': { what: string; why: string };
  'image.digest': { what: string; expected: string; found: string };
  'image.pull_failed': { image: string; why: string };
  'image.no_space': { path: string };
  'image.store': { path: string; why: string };
  'image.unavailable': { image: string; host: string; why: string };
  'host.not_found': { host: string; known: string };
  'host.unreachable': { host: string };
  'host.no_room': { host: string; neededBytes: number; freeBytes: number };
  'host.cordoned': { host: string; why: string };
  'host.draining': { host: string; drain: string };
  'host.same': { guest: string; host: string };
  'host.name_taken': { host: string };
  'drain.not_found': { host: string };
  'drain.over': { host: string; state: string };
  'drain.incomplete': { host: string; kind: string; state: string; left: number };
  'line.full': { waiting: number };
  'host.not_fenceable': { host: string; why: string };
  'migration.not_found': { migration: string };
  'migration.past_cancel': { migration: string; phase: string };
  'migration.cancelled': { migration: string };
  'migration.refused': { why: string };
  'migration.digest': { expected: string; found: string };
  'migration.gave_up': { why: string };
  'migration.lost': { guest: string; evidence: string };
  'state.locked': { path: string };
  'state.version': { what: string; version: number };
  'state.corrupt': { what: string; why: string };
  'store.locked': { path: string };
  'store.full': { path: string; why: string };
  'store.failed': { path: string; why: string };
  'store.compacted': { asked: number; oldest: number };
  'store.lease_gone': { lease: string };
  'store.recovering': { waitingFor: string };
  'store.back_in_time': { storeId: string; seen: number; found: number };
  'store.stale_term': { term: number; seen: number };
  'coordinator.unreachable': { address: string; why: string };
  'listen.in_use': { address: string };
  'listen.failed': { address: string; why: string };
  'api.version': { asked: string; spoken: number };
  'request.timed_out': { what: string; afterMs: number };
  'request.invalid': { why: string };
  internal: { why: string };
}

export type ErrorCode = keyof ErrorDetail;

interface ErrorRow<C extends ErrorCode> {
  readonly fault: 'peer' | 'network' | 'user' | 'us';
  /** 1 failed, 2 usage, 3 not found, 4 conflict, 5 unreachable, 124 timed out. */
  readonly exit: 1 | 2 | 3 | 4 | 5 | 124;
  readonly text: (detail: ErrorDetail[C]) => string;
  readonly hint?: string;
}

const mib = (bytes: number) => `${Math.ceil(bytes / 1048576)} MiB`;

export const ERRORS: { readonly [C in ErrorCode]: ErrorRow<C> } = {
  'wire.truncated': {
    fault: 'peer',
    exit: 1,
    text: (d) => `${d.what} must be ${d.expectedBytes} bytes, received ${d.receivedBytes}`,
  },
  'wire.unknown_message': { fault: 'peer', exit: 1, text: (d) => `no message has tag ${d.tag}` },
  'wire.bad_field': {
    fault: 'peer',
    exit: 1,
    text: (d) => `${d.message}.${d.field}: ${d.why}`,
  },
  'wire.bad_frame': { fault: 'peer', exit: 1, text: (d) => `frame refused: ${d.why}` },
  'wire.wrong_direction': {
    fault: 'peer',
    exit: 1,
    text: (d) => `${d.message} does not travel on this connection in this direction`,
  },
  'wire.too_large': {
    fault: 'peer',
    exit: 1,
    text: (d) => `${d.what} has ${d.bytes} bytes, at most ${d.bytesMax} are allowed`,
  },
  'wire.version': {
    fault: 'peer',
    exit: 4,
    text: (d) => `protocol version ${d.theirs} met version ${d.ours}`,
    hint: 'run the same release on the coordinator and on every host',
  },
  'channel.early_data': {
    fault: 'peer',
    exit: 1,
    text: (d) => `channel ${d.channel}: bytes arrived before ATTACH was sent`,
  },
  'channel.refused': {
    fault: 'network',
    exit: 5,
    text: (d) => `page channel to ${d.address}: ${d.why}`,
    hint: "open the source's page ports (--page-ports) to the target",
  },
  'channel.lost': {
    fault: 'network',
    exit: 1,
    text: (d) => `channel ${d.channel} closed with ${d.pagesUnacknowledged} pages unacknowledged`,
  },
  'channel.protection': {
    fault: 'peer',
    exit: 1,
    text: (d) => `channel ${d.channel}: access with key ${d.key} refused: ${d.why}`,
  },
  'peer.unreachable': {
    fault: 'network',
    exit: 5,
    text: (d) => `no connection to the agent at ${d.address}: ${d.why}`,
    hint: 'check --advertise of that host and the firewall between the two hosts',
  },
  'peer.capability': {
    fault: 'peer',
    exit: 4,
    text: (d) => `migration ${d.migration} is not known here, or its capability is wrong`,
  },
  'auth.token': {
    fault: 'user',
    exit: 4,
    text: (d) => `cluster token refused: ${d.why}`,
    hint: 'give the same --token (or GODWIT_TOKEN) to the coordinator, the agents and the command',
  },
  'auth.token_file': {
    fault: 'user',
    exit: 2,
    text: (d) => `token file ${d.path}: ${d.why}`,
    hint: 'the coordinator makes it at its first start with --token-file; copy it to the other machines',
  },
  'auth.loopback_only': {
    fault: 'user',
    exit: 2,
    text: (d) => `${d.address} is not a loopback address and no cluster token is given`,
    hint: 'give --token (or GODWIT_TOKEN), or listen on 127.0.0.1',
  },
  'guest.not_found': {
    fault: 'user',
    exit: 3,
    text: (d) => `guest ${d.guest}: no such guest${d.known && ` (there are ${d.known})`}`,
    hint: 'godwit guest ls',
  },
  'guest.exists': {
    fault: 'user',
    exit: 4,
    text: (d) => `guest ${d.guest} exists on host ${d.host}`,
    hint: 'choose another name, or godwit guest rm it first',
  },
  'guest.busy': {
    fault: 'user',
    exit: 4,
    text: (d) => `guest ${d.guest} is in migration ${d.migration}`,
    hint: 'godwit migration watch it, or cancel it',
  },
  'checkpoint.exists': {
    fault: 'user',
    exit: 4,
    text: (d) => `checkpoint ${d.checkpoint} exists on host ${d.host}`,
    hint: 'choose another name; it is the operator who removes old files',
  },
  'checkpoint.not_found': {
    fault: 'user',
    exit: 3,
    text: (d) => `no checkpoint ${d.checkpoint} on host ${d.host}: ${d.path} is not there`,
    hint: 'it lies on the host that wrote it; give that one as --host, or copy the file',
  },
  'checkpoint.not_written': {
    fault: 'user',
    exit: 1,
    text: (d) => d.why,
    hint: 'the guest runs on, and nothing was left there; make room and try again',
  },
  'checkpoint.damaged': {
    fault: 'user',
    exit: 1,
    text: (d) => d.why,
    hint: 'nothing was started; copy the file again, or use another checkpoint',
  },
  'guest.not_running': {
    fault: 'user',
    exit: 4,
    text: (d) => `guest ${d.guest} is ${d.state}`,
    hint: 'godwit guest show it',
  },
  'guest.running': {
    fault: 'user',
    exit: 4,
    text: (d) => `guest ${d.guest} runs on host ${d.host}`,
    hint: 'godwit guest stop it first',
  },
  'guest.ended': { fault: 'user', exit: 4, text: (d) => `guest ${d.guest} ended by itself` },
  'guest.bad_name': {
    fault: 'user',
    exit: 2,
    text: (d) => `${JSON.stringify(d.name)} is not a name`,
    hint: 'lower-case letters, digits and dashes, 1 to 63 characters',
  },
  'guest.bad_spec': {
    fault: 'user',
    exit: 2,
    text: (d) => d.why,
    hint: 'godwit guest create --help',
  },
  'guest.stopped_late': {
    fault: 'us',
    exit: 124,
    text: (d) => `guest ${d.guest}: harts did not stop within ${d.waitedMs} ms`,
  },
  'guest.console_busy': {
    fault: 'user',
    exit: 4,
    text: (d) => `the console of guest ${d.guest} is in use`,
    hint: '--read-only watches it, --force takes it over',
  },
  'image.not_found': {
    fault: 'user',
    exit: 3,
    text: (d) => `image ${d.image}: no such image${d.known && ` (there are ${d.known})`}`,
    hint: 'godwit image ls; godwit image pull debian-13, or godwit image import your own',
  },
  'image.exists': {
    fault: 'user',
    exit: 4,
    text: (d) => `the name ${d.name} belongs to another image, ${d.digest.slice(0, 12)}`,
    hint: 'choose another --name, or godwit image rm it first',
  },
  'image.in_use': {
    fault: 'user',
    exit: 4,
    text: (d) => `image ${d.image} is used by ${d.guests}`,
    hint: 'remove these guests first; a guest reads its image again when it reboots',
  },
  'image.bad_kernel': {
    fault: 'user',
    exit: 2,
    text: (d) => `kernel ${d.path}: ${d.why}`,
    hint: 'a 64-bit RISC-V kernel is wanted: arch/riscv/boot/Image, or /boot/vmlinux-* of a riscv64 Debian',
  },
  'image.bad_initrd': {
    fault: 'user',
    exit: 2,
    text: (d) => `initrd ${d.path}: ${d.why}`,
    hint: 'a cpio archive (newc) is wanted, plain or compressed as the kernel can read it',
  },
  'image.bad_archive': {
    fault: 'peer',
    exit: 1,
    text: (d) => `${d.what} does not unpack: ${d.why}`,
    hint: 'godwit image pull again; what was damaged is fetched anew',
  },
  'image.digest': {
    fault: 'peer',
    exit: 1,
    text: (d) => `${d.what} has sha256 ${d.found}, expected ${d.expected}`,
    hint: 'it was damaged or exchanged on its way; try again',
  },
  'image.pull_failed': {
    fault: 'network',
    exit: 1,
    text: (d) => `cannot pull ${d.image}: ${d.why}`,
    hint: 'nothing was changed; godwit image import takes a kernel and an initrd of your own',
  },
  'image.no_space': {
    fault: 'user',
    exit: 1,
    text: (d) => `no space left for images in ${d.path}`,
    hint: 'godwit image rm what is not needed, or choose another --image-dir',
  },
  'image.store': {
    fault: 'user',
    exit: 1,
    text: (d) => `images in ${d.path}: ${d.why}`,
    hint: 'choose another --image-dir (or GODWIT_IMAGE_DIR)',
  },
  'image.unavailable': {
    fault: 'network',
    exit: 5,
    text: (d) => `host ${d.host} cannot get image ${d.image}: ${d.why}`,
    hint: 'godwit image push it to that host, or start the guest where the image is (godwit image ls)',
  },
  'host.not_found': {
    fault: 'user',
    exit: 3,
    text: (d) => `host ${d.host}: no such host${d.known && ` (there are ${d.known})`}`,
    hint: 'godwit host ls',
  },
  'host.unreachable': {
    fault: 'network',
    exit: 5,
    text: (d) => `host ${d.host} is not connected to the coordinator`,
    hint: 'godwit host show it; start its agent, or check the network',
  },
  'host.no_room': {
    fault: 'user',
    exit: 4,
    text: (d) =>
      `host ${d.host} has ${mib(d.freeBytes)} free for guests, ${mib(d.neededBytes)} are needed`,
    hint: 'choose another host (godwit host ls), or remove a guest there',
  },
  'host.cordoned': {
    fault: 'user',
    exit: 4,
    text: (d) => `host ${d.host} takes no guests: ${d.why}`,
    hint: 'choose another host (godwit host ls), or godwit host uncordon it',
  },
  'host.draining': {
    fault: 'user',
    exit: 4,
    text: (d) => `host ${d.host} is being emptied (${d.drain})`,
    hint: 'wait for it, or godwit host drain HOST --cancel',
  },
  'host.same': {
    fault: 'user',
    exit: 4,
    text: (d) => `guest ${d.guest} is on host ${d.host} already`,
    hint: 'choose another host (godwit host ls)',
  },
  'host.name_taken': {
    fault: 'user',
    exit: 4,
    text: (d) => `another agent is connected as host ${d.host}`,
    hint: 'give each agent its own --name and --state-dir',
  },
  'drain.not_found': {
    fault: 'user',
    exit: 3,
    text: (d) => `host ${d.host} was not drained`,
    hint: 'godwit host drain it',
  },
  'drain.over': {
    fault: 'user',
    exit: 4,
    text: (d) => `the drain of host ${d.host} is ${d.state}: nothing to cancel`,
  },
  'drain.incomplete': {
    fault: 'user',
    exit: 1,
    text: (d) =>
      `${d.kind} of host ${d.host} is ${d.state}, ${d.left} ${d.left === 1 ? 'guest' : 'guests'} left`,
    hint: 'remove what keeps them (above), then the same command again',
  },
  'line.full': {
    fault: 'user',
    exit: 4,
    text: (d) => `${d.waiting} moves are waiting already`,
    hint: 'godwit migration ls --open; wait, or cancel some',
  },
  'host.not_fenceable': {
    fault: 'user',
    exit: 4,
    text: (d) => `host ${d.host}: ${d.why}`,
    hint: 'godwit host show it',
  },
  'migration.not_found': {
    fault: 'user',
    exit: 3,
    text: (d) => `migration ${d.migration}: no such migration`,
    hint: 'godwit migration ls',
  },
  'migration.past_cancel': {
    fault: 'user',
    exit: 4,
    text: (d) => `migration ${d.migration} is ${d.phase}: too late to cancel`,
    hint: 'the guest runs, or will run, at the target; migrate it back if you want it there',
  },
  'migration.cancelled': {
    fault: 'user',
    exit: 1,
    text: (d) => `migration ${d.migration} was cancelled`,
  },
  'migration.refused': { fault: 'peer', exit: 4, text: (d) => `the target refused: ${d.why}` },
  'migration.digest': {
    fault: 'us',
    exit: 1,
    text: (d) => `digest ${d.found} at the target, ${d.expected} at the source`,
  },
  'migration.gave_up': { fault: 'user', exit: 1, text: (d) => `gave up: ${d.why}` },
  'migration.lost': {
    fault: 'network',
    exit: 1,
    text: (d) => `guest ${d.guest} is lost: ${d.evidence}`,
  },
  'state.locked': {
    fault: 'user',
    exit: 4,
    text: (d) => `${d.path} is in use by another agent`,
    hint: 'give each agent its own --state-dir',
  },
  'state.version': {
    fault: 'peer',
    exit: 4,
    text: (d) => `${d.what} has unknown version ${d.version}`,
  },
  'state.corrupt': { fault: 'peer', exit: 1, text: (d) => `${d.what} does not decode: ${d.why}` },
  'store.locked': {
    fault: 'user',
    exit: 4,
    text: (d) => `${d.path} is in use by another coordinator`,
    hint: 'one coordinator a store; stop the other one or give another --state-dir',
  },
  'store.full': {
    fault: 'user',
    exit: 1,
    text: (d) => `${d.path} cannot grow: ${d.why}`,
    hint: 'make room on its file system; what was acknowledged is safe, guests run on meanwhile',
  },
  'store.failed': {
    fault: 'us',
    exit: 1,
    text: (d) => `${d.path} cannot be written any more: ${d.why}`,
    hint: 'look after its disk, then start the coordinator again; guests run on meanwhile',
  },
  'store.compacted': {
    fault: 'user',
    exit: 4,
    text: (d) =>
      `changes after revision ${d.asked} are forgotten, those after ${d.oldest} are kept`,
    hint: 'read the range anew and watch from the revision it shows',
  },
  'store.lease_gone': { fault: 'user', exit: 4, text: (d) => `lease ${d.lease} has ended` },
  'store.recovering': {
    fault: 'user',
    exit: 4,
    text: (d) => `the store is being recovered${d.waitingFor && `, waits for ${d.waitingFor}`}`,
    hint: 'godwit coordinator recover shows what it waits for',
  },
  'store.back_in_time': {
    fault: 'user',
    exit: 4,
    text: (d) => `store ${d.storeId} is at revision ${d.found}, an agent has seen ${d.seen}`,
    hint: 'it was restored from a backup: godwit coordinator recover',
  },
  'store.stale_term': {
    fault: 'peer',
    exit: 4,
    text: (d) => `coordinator of term ${d.term} speaks, term ${d.seen} has been seen`,
    hint: 'an older coordinator still runs; stop it',
  },
  'coordinator.unreachable': {
    fault: 'network',
    exit: 5,
    text: (d) => `no coordinator at ${d.address}: ${d.why}`,
    hint: 'start one with godwit up, or give --coordinator URL',
  },
  'listen.in_use': {
    fault: 'user',
    exit: 4,
    text: (d) => `${d.address} is in use`,
    hint: 'choose another port, or end the process that holds it',
  },
  'listen.failed': {
    fault: 'user',
    exit: 1,
    text: (d) => `cannot listen on ${d.address}: ${d.why}`,
  },
  'api.version': {
    fault: 'user',
    exit: 2,
    text: (d) => `version ${d.asked} of the HTTP API: this coordinator speaks version ${d.spoken}`,
    hint: 'use the godwit command of the same release as the coordinator',
  },
  'request.timed_out': {
    fault: 'network',
    exit: 124,
    text: (d) => `${d.what}: no answer after ${d.afterMs} ms`,
  },
  'request.invalid': { fault: 'user', exit: 2, text: (d) => d.why },
  internal: { fault: 'us', exit: 1, text: (d) => d.why },
};

/** An error as plain data: crosses threads, the wire and the API; the other end rebuilds the text. */
export type ErrorData = { [C in ErrorCode]: { code: C; detail: ErrorDetail[C] } }[ErrorCode];

export class GodwitError<C extends ErrorCode = ErrorCode> extends Error {
  override readonly name = 'GodwitError';
  readonly code: C;
  readonly detail: ErrorDetail[C];

  constructor(code: C, detail: ErrorDetail[C], options?: ErrorOptions) {
    super(ERRORS[code].text(detail), options);
    this.code = code;
    this.detail = detail;
  }

  get hint(): string | undefined {
    return ERRORS[this.code].hint;
  }

  get exit(): number {
    return ERRORS[this.code].exit;
  }

  toData(): ErrorData {
    return { code: this.code, detail: this.detail } as unknown as ErrorData;
  }

  /** Rebuilds an error from data of another thread or host; anything unknown becomes `internal`. */
  static fromData(data: unknown): GodwitError {
    const { code, detail } = (data ?? {}) as { code?: string; detail?: never };
    if (typeof code === 'string' && Object.hasOwn(ERRORS, code) && typeof detail === 'object') {
      return new GodwitError(code as ErrorCode, detail);
    }
    return new GodwitError('internal', { why: `unknown error ${JSON.stringify(data)}` });
  }

  /** Any thrown value as one of ours. */
  static from(thrown: unknown): GodwitError {
    if (thrown instanceof GodwitError) return thrown;
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    return new GodwitError('internal', { why }, { cause: thrown });
  }
}
