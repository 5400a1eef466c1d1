/**
 * Page frames: what travels on the page and faults channels, one frame a WebSocket message.
 *
 *   round plan -> [frame] -> WebSocket -> landing reader -> guest RAM
 *
 * A frame is a fixed 32-byte little-endian header, then `runs` descriptors of 8 bytes {first page
 * u32, pages u32}, then the bytes of the pages in that order. The header alone says how many bytes
 * follow, so that a reader can hand the kernel a view of exactly those.
 *
 *   offset  0 u8   opcode         never 0
 *           1 u8   flags          see FRAME_FLAGS
 *           2 u16  runs           descriptors that follow
 *           4 u32  round          round of the migration; generation in ATTACH
 *           8 u32  key            rkey of the region written or read
 *          12 u32  firstPage      first page of a WRITE; channel number in ATTACH
 *          16 u32  pages          pages covered by the frame
 *          20 u32  payloadBytes   descriptors and page bytes
 *          24 u64  sequence       of the frame on its channel, from 1; in CREDIT the highest landed,
 *                                 in ATTACH the highest that landed of the generation before
 *
 * Opcodes 4 and 5 are kept free for compressed and delta pages. The source listens and is the
 * WebSocket server, so that page bytes travel unmasked (RFC 6455 section 5.1).
 */
import { GodwitError } from './errors.ts';
import {
  CAPABILITY_CHARS,
  FRAME_HEADER_BYTES,
  FRAME_PAGES_MAX,
  FRAME_RUNS_MAX,
  GUEST_PAGES_MAX,
  PAGE_BYTES,
  READ_PAGES_MAX,
  RUN_BYTES,
  ZERO_PAGES_MAX,
} from './limits.ts';

export const OPCODE = {
  WRITE: 1,
  WRITE_LIST: 2,
  ZERO: 3,
  READ: 6,
  READ_RESPONSE: 7,
  BARRIER: 8,
  CREDIT: 9,
  ATTACH: 10,
} as const;

export type OpcodeName = keyof typeof OPCODE;

/** Set by the source in WRITE_LIST and WRITE when the guest already runs at the target. */
export const FLAG_PUSH = 1;

export interface FrameRow {
  readonly opcode: number;
  readonly from: 'source' | 'target' | 'both';
  readonly on: 'pages' | 'faults' | 'both';
  /** Bounds of `runs`, and whether page bytes follow the descriptors. */
  readonly runsMin: number;
  readonly runsMax: number;
  readonly pagesMax: number;
  readonly carriesPages: boolean;
  readonly what: string;
}

export const FRAMES: { readonly [N in OpcodeName]: FrameRow } = {
  WRITE: {
    opcode: 1,
    from: 'source',
    on: 'pages',
    runsMin: 0,
    runsMax: 0,
    pagesMax: FRAME_PAGES_MAX,
    carriesPages: true,
    what: 'One run of pages, placed where firstPage says.',
  },
  WRITE_LIST: {
    opcode: 2,
    from: 'source',
    on: 'pages',
    runsMin: 1,
    runsMax: FRAME_RUNS_MAX,
    pagesMax: FRAME_PAGES_MAX,
    carriesPages: true,
    what: 'Scattered pages, gathered behind their descriptors.',
  },
  ZERO: {
    opcode: 3,
    from: 'source',
    on: 'pages',
    runsMin: 1,
    runsMax: FRAME_RUNS_MAX,
    pagesMax: ZERO_PAGES_MAX,
    carriesPages: false,
    what: 'Pages that hold only zeros; the target writes those it does not know to be zero.',
  },
  READ: {
    opcode: 6,
    from: 'target',
    on: 'faults',
    runsMin: 1,
    runsMax: READ_PAGES_MAX,
    pagesMax: READ_PAGES_MAX,
    carriesPages: false,
    what: 'A hart waits for the first of these pages.',
  },
  READ_RESPONSE: {
    opcode: 7,
    from: 'source',
    on: 'faults',
    runsMin: 1,
    runsMax: READ_PAGES_MAX,
    pagesMax: READ_PAGES_MAX,
    carriesPages: true,
    what: 'The pages a READ asked for.',
  },
  BARRIER: {
    opcode: 8,
    from: 'both',
    on: 'both',
    runsMin: 0,
    runsMax: 0,
    pagesMax: 0,
    carriesPages: false,
    what: 'Every frame of the round is before it; the target sends it back once all of them have landed.',
  },
  CREDIT: {
    opcode: 9,
    from: 'target',
    on: 'both',
    runsMin: 0,
    runsMax: 0,
    pagesMax: 0,
    carriesPages: false,
    what: 'Every frame up to `sequence` has landed.',
  },
  ATTACH: {
    opcode: 10,
    from: 'target',
    on: 'both',
    runsMin: 0,
    runsMax: 0,
    pagesMax: 0,
    carriesPages: false,
    what: 'First frame on a channel: its number, generation and, as payload, the capability.',
  },
};

export interface FrameHeader {
  opcode: number;
  flags: number;
  runs: number;
  round: number;
  key: number;
  firstPage: number;
  pages: number;
  payloadBytes: number;
  /** Below 2^53. */
  sequence: number;
}

const ROWS: (FrameRow | undefined)[] = [];
const NAMES: (OpcodeName | undefined)[] = [];
for (const [name, row] of Object.entries(FRAMES)) {
  ROWS[row.opcode] = row;
  NAMES[row.opcode] = name as OpcodeName;
}

export function opcodeName(opcode: number): OpcodeName | undefined {
  return NAMES[opcode];
}

export function emptyHeader(): FrameHeader {
  return {
    opcode: 0,
    flags: 0,
    runs: 0,
    round: 0,
    key: 0,
    firstPage: 0,
    pages: 0,
    payloadBytes: 0,
    sequence: 0,
  };
}

/** Bytes that follow the header of a frame with these counts. */
export function payloadBytes(opcode: number, runs: number, pages: number): number {
  if (opcode === OPCODE.ATTACH) return CAPABILITY_CHARS;
  const row = ROWS[opcode];
  return runs * RUN_BYTES + (row?.carriesPages ? pages * PAGE_BYTES : 0);
}

/** Writes the header at `offset`; the payload length is derived. */
export function encodeHeader(view: DataView, offset: number, header: FrameHeader): void {
  view.setUint8(offset, header.opcode);
  view.setUint8(offset + 1, header.flags);
  view.setUint16(offset + 2, header.runs, true);
  view.setUint32(offset + 4, header.round, true);
  view.setUint32(offset + 8, header.key, true);
  view.setUint32(offset + 12, header.firstPage, true);
  view.setUint32(offset + 16, header.pages, true);
  view.setUint32(offset + 20, payloadBytes(header.opcode, header.runs, header.pages), true);
  view.setUint32(offset + 24, header.sequence >>> 0, true);
  view.setUint32(offset + 28, Math.floor(header.sequence / 0x1_0000_0000), true);
}

/**
 * Reads and checks a header into `into` (which is reused, nothing is allocated a frame).
 *
 * @param from which end sent it, on which kind of channel: a frame out of place is refused
 * @throws GodwitError `wire.bad_frame` on anything the table does not allow
 */
export function decodeHeader(
  view: DataView,
  offset: number,
  from: 'source' | 'target',
  on: 'pages' | 'faults',
  into: FrameHeader,
): FrameHeader {
  into.opcode = view.getUint8(offset);
  into.flags = view.getUint8(offset + 1);
  into.runs = view.getUint16(offset + 2, true);
  into.round = view.getUint32(offset + 4, true);
  into.key = view.getUint32(offset + 8, true);
  into.firstPage = view.getUint32(offset + 12, true);
  into.pages = view.getUint32(offset + 16, true);
  into.payloadBytes = view.getUint32(offset + 20, true);
  into.sequence =
    view.getUint32(offset + 24, true) + view.getUint32(offset + 28, true) * 0x1_0000_0000;
  const row = ROWS[into.opcode];
  if (row === undefined) return refuse(`no frame has opcode ${into.opcode}`);
  const name = NAMES[into.opcode];
  if (row.from !== 'both' && row.from !== from) return refuse(`${name} is not sent by the ${from}`);
  if (row.on !== 'both' && row.on !== on) return refuse(`${name} is not sent on a ${on} channel`);
  if ((into.flags & ~FLAG_PUSH) !== 0) return refuse(`${name} with flags ${into.flags}`);
  if (into.runs < row.runsMin || into.runs > row.runsMax)
    return refuse(`${name} with ${into.runs} runs`);
  if (into.pages > row.pagesMax) return refuse(`${name} with ${into.pages} pages`);
  if (row.pagesMax > 0 && into.pages < Math.max(1, into.runs))
    return refuse(`${name} with ${into.pages} pages`);
  if (into.opcode === OPCODE.WRITE && into.firstPage + into.pages > GUEST_PAGES_MAX) {
    return refuse(`WRITE ends at page ${into.firstPage + into.pages}`);
  }
  if (into.payloadBytes !== payloadBytes(into.opcode, into.runs, into.pages)) {
    return refuse(`${name} with ${into.payloadBytes} payload bytes`);
  }
  if (into.sequence > Number.MAX_SAFE_INTEGER) return refuse(`${name} with an impossible sequence`);
  return into;
}

/** Checks descriptors against the header: inside the guest, in order, not empty, adding up. */
export function checkRuns(
  view: DataView,
  offset: number,
  header: FrameHeader,
  guestPages: number,
): void {
  let total = 0;
  let end = 0;
  for (let i = 0; i < header.runs; i++) {
    const first = view.getUint32(offset + i * RUN_BYTES, true);
    const pages = view.getUint32(offset + i * RUN_BYTES + 4, true);
    if (pages === 0) refuse('an empty run');
    if (i > 0 && first < end) refuse('runs out of order');
    end = first + pages;
    if (end > guestPages) refuse(`a run ends at page ${end} of ${guestPages}`);
    total += pages;
  }
  if (total !== header.pages) refuse(`runs of ${total} pages under a header of ${header.pages}`);
}

function refuse(why: string): never {
  throw new GodwitError('wire.bad_frame', { why });
}

export { FRAME_HEADER_BYTES };
