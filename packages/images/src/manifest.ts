/**
 * What an image is, in one small JSON object.
 *
 *   { format, digest, name, architecture, kernel, initrd?, append, source }
 *
 * The digest is the SHA-256 of what boots: kernel, initrd and command line. Where they came from, and
 * under what name somebody keeps them, does not change it; two hosts with the same digest boot the same.
 * A manifest may come from another host, so it is parsed like everything from a socket.
 */
import { createHash } from 'node:crypto';
import {
  COMMAND_LINE_CHARS_MAX,
  GodwitError,
  IMAGE_FILE_BYTES_MAX,
  NAME_PATTERN,
} from '@godwit/protocol';

export interface ImageFile {
  readonly sha256: string;
  readonly bytes: number;
}

/** Where it came from, for people: labels such as "kernel" with a package and its version. */
export type ImageSource = { readonly [label: string]: string };

export interface Manifest {
  readonly format: 1;
  readonly digest: string;
  readonly name: string;
  readonly architecture: 'riscv64';
  readonly kernel: ImageFile;
  readonly initrd?: ImageFile;
  /** The kernel's command line. */
  readonly append: string;
  readonly source: ImageSource;
}

export const DIGEST_PATTERN = /^[0-9a-f]{64}$/;
const SOURCE_LABELS_MAX = 32;
const SOURCE_CHARS_MAX = 1024;

/** Everything but format and digest. @throws GodwitError `request.invalid` */
export function makeManifest(
  parts: Omit<Manifest, 'format' | 'digest' | 'architecture'>,
): Manifest {
  const { name, kernel, initrd, append, source } = parts;
  checkAppend(append);
  return {
    format: 1,
    digest: digestOf(parts),
    name,
    architecture: 'riscv64',
    kernel,
    ...(initrd && { initrd }),
    append,
    source,
  };
}

/** @throws GodwitError `request.invalid`: too long for the kernel, or not one line of text */
export function checkAppend(append: string): void {
  const why =
    append.length > COMMAND_LINE_CHARS_MAX
      ? `has ${append.length} characters, the kernel takes ${COMMAND_LINE_CHARS_MAX}`
      : /^[\x20-\x7e]*$/.test(append)
        ? undefined
        : 'must be one line of plain text';
  if (why !== undefined) throw new GodwitError('request.invalid', { why: `--append: ${why}` });
}

/**
 * From bytes of a file or of a peer.
 * @throws GodwitError `state.corrupt`: not a manifest, or its digest is not that of its parts
 */
export function parseManifest(text: string): Manifest {
  const bad = (why: string) => new GodwitError('state.corrupt', { what: 'image manifest', why });
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new GodwitError(
      'state.corrupt',
      { what: 'image manifest', why: 'it is not JSON' },
      { cause },
    );
  }
  if (typeof value !== 'object' || value === null) throw bad('it is no object');
  const { format, name, architecture, append, digest } = value;
  if (format !== 1) throw bad(`its format is ${String(format)}, not 1`);
  if (typeof name !== 'string' || !NAME_PATTERN.test(name)) throw bad('its name is no name');
  if (architecture !== 'riscv64') throw bad('its architecture is not riscv64');
  if (typeof append !== 'string') throw bad('it has no command line');
  const kernel = parseFile(value.kernel);
  const initrd = value.initrd === undefined ? undefined : parseFile(value.initrd);
  const source = parseSource(value.source);
  if (kernel === undefined || (value.initrd !== undefined && initrd === undefined)) {
    throw bad('a file of it is not described');
  }
  if (source === undefined) throw bad('its source is not described');
  checkAppend(append);
  const manifest = makeManifest({ name, kernel, ...(initrd && { initrd }), append, source });
  if (manifest.digest !== digest) throw bad('its digest is not that of its parts');
  return manifest;
}

export function manifestText(manifest: Manifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

/** Its files, each once. */
export function filesOf(manifest: Manifest): ImageFile[] {
  return manifest.initrd === undefined ? [manifest.kernel] : [manifest.kernel, manifest.initrd];
}

function digestOf(parts: Pick<Manifest, 'kernel' | 'initrd' | 'append'>): string {
  const { kernel, initrd, append } = parts;
  const what = ['godwit image 1', kernel.sha256, initrd?.sha256 ?? '-', append];
  return createHash('sha256').update(what.join('\n')).digest('hex');
}

function parseFile(value: unknown): ImageFile | undefined {
  const { sha256, bytes } = (value ?? {}) as { sha256?: unknown; bytes?: unknown };
  if (typeof sha256 !== 'string' || !DIGEST_PATTERN.test(sha256)) return undefined;
  if (typeof bytes !== 'number' || !Number.isSafeInteger(bytes)) return undefined;
  return bytes > 0 && bytes <= IMAGE_FILE_BYTES_MAX ? { sha256, bytes } : undefined;
}

function parseSource(value: unknown): ImageSource | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const entries = Object.entries(value);
  const isText = ([label, text]: [string, unknown]) =>
    label.length <= 64 && typeof text === 'string' && text.length <= SOURCE_CHARS_MAX;
  return entries.length <= SOURCE_LABELS_MAX && entries.every(isText)
    ? (Object.fromEntries(entries) as ImageSource)
    : undefined;
}
