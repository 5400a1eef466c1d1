/**
 * Writes flattened device trees (Devicetree Specification, release v0.4, chapter 5).
 *
 * machine-tree.ts: nodes as plain objects -> [device tree] -> bytes at a1 of the first hart
 *
 * The blob: header (5.2), memory reservation block (5.3, empty here), structure block (5.4), strings
 * block (5.5). All numbers are big-endian; a property's value is bytes, and the functions at the end make
 * them from cells and strings (2.2.4).
 */

export interface DeviceTreeNode {
  readonly properties: { readonly [name: string]: Uint8Array };
  /** Children by node name, unit address included. */
  readonly children?: { readonly [name: string]: DeviceTreeNode };
}

const MAGIC = 0xd00dfeed;
const VERSION = 17;
const LAST_COMPATIBLE_VERSION = 16;
const HEADER_BYTES = 40;
/** One entry of zeros ends the reservation block. */
const RESERVATIONS_BYTES = 16;

// Tokens of the structure block (5.4.1).
const BEGIN_NODE = 1;
const END_NODE = 2;
const PROP = 3;
const END = 9;

/** The blob of a tree; its length is a multiple of 8. */
export function writeDeviceTree(root: DeviceTreeNode): Uint8Array {
  const strings = new Strings();
  const structure = new Cells();
  writeNode('', root, structure, strings);
  structure.u32(END);
  const structureAt = HEADER_BYTES + RESERVATIONS_BYTES;
  const stringsAt = structureAt + structure.length;
  const bytes = new Uint8Array(roundUp(stringsAt + strings.length, 8));
  const header = new DataView(bytes.buffer);
  const words = [
    MAGIC,
    bytes.length,
    structureAt,
    stringsAt,
    HEADER_BYTES,
    VERSION,
    LAST_COMPATIBLE_VERSION,
    0, // boot_cpuid_phys: the hart that starts is number 0
    strings.length,
    structure.length,
  ];
  for (const [i, word] of words.entries()) header.setUint32(i * 4, word);
  bytes.set(structure.bytes(), structureAt);
  bytes.set(strings.bytes(), stringsAt);
  return bytes;
}

function writeNode(name: string, node: DeviceTreeNode, into: Cells, strings: Strings): void {
  into.u32(BEGIN_NODE);
  into.padded(text(name));
  for (const [property, value] of Object.entries(node.properties)) {
    into.u32(PROP);
    into.u32(value.length);
    into.u32(strings.offsetOf(property));
    into.padded(value);
  }
  for (const [child, contents] of Object.entries(node.children ?? {})) {
    writeNode(child, contents, into, strings);
  }
  into.u32(END_NODE);
}

/** Grows by whole cells of four bytes. */
class Cells {
  readonly #parts: Uint8Array[] = [];
  length = 0;

  u32(value: number): void {
    this.padded(cells(value));
  }

  padded(value: Uint8Array): void {
    const part = new Uint8Array(roundUp(value.length, 4));
    part.set(value);
    this.#parts.push(part);
    this.length += part.length;
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#parts);
  }
}

/** Property names, each once. */
class Strings {
  readonly #offsets = new Map<string, number>();
  readonly #parts: Uint8Array[] = [];
  length = 0;

  offsetOf(name: string): number {
    const known = this.#offsets.get(name);
    if (known !== undefined) return known;
    const offset = this.length;
    const part = text(name);
    this.#parts.push(part);
    this.length += part.length;
    this.#offsets.set(name, offset);
    return offset;
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#parts);
  }
}

function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

// -------------------------------------------------------------------------- property values

/** `<u32>` cells one after the other. */
export function cells(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) view.setUint32(i * 4, value);
  return bytes;
}

/** `<u64>` values, two cells each: addresses and sizes where #address-cells and #size-cells are 2. */
export function wideCells(...values: readonly number[]): Uint8Array {
  return cells(...values.flatMap((value) => [Math.floor(value / 2 ** 32), value % 2 ** 32]));
}

/** `<string>`: UTF-8 here, zero-terminated. */
export function text(value: string): Uint8Array {
  return Buffer.from(`${value}\0`);
}

/** `<stringlist>`. */
export function texts(...values: readonly string[]): Uint8Array {
  return Buffer.concat(values.map(text));
}

/** `<empty>`: there or not there. */
export const PRESENT = new Uint8Array(0);
