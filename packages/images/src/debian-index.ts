/**
 * The two kinds of text that say what a Debian archive holds (Debian repository format, deb822(5)).
 *
 *   InRelease (signed) -> sha256 of each index;   Packages -> sha256 of each package
 *
 * The signature is checked by apt; here the digests are followed from the signed text to the file that
 * was fetched. Pure.
 */
import { GodwitError } from '@godwit/protocol';

/** What InRelease says of the release itself. */
export interface Release {
  readonly codename: string;
  /** "Debian 13.7 Released 12 September 2026" */
  readonly description: string;
  /** Index path -> sha256. */
  readonly sha256: ReadonlyMap<string, string>;
}

export interface PackageEntry {
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
  readonly bytes: number;
  readonly depends: string;
}

const DIGEST_LINE = /^ ([0-9a-f]{64})\s+\d+\s+(\S+)$/;

/** @throws GodwitError `image.bad_archive` */
export function readRelease(text: string, what: string): Release {
  const sha256 = new Map<string, string>();
  const fields = new Map<string, string>();
  let section = '';
  for (const line of signedText(text, what).split('\n')) {
    const field = /^([A-Za-z0-9-]+):\s*(.*)$/.exec(line);
    if (field !== null) {
      section = field[1]!;
      fields.set(section, field[2]!);
      continue;
    }
    const entry = section === 'SHA256' ? DIGEST_LINE.exec(line) : null;
    if (entry !== null) sha256.set(entry[2]!, entry[1]!);
  }
  const codename = fields.get('Codename') ?? '';
  if (codename === '') throw bad(what, 'it names no release');
  return { codename, description: fields.get('Description') ?? codename, sha256 };
}

/**
 * The last stanza of that package in an index.
 * @throws GodwitError `image.bad_archive`: no such package, or its digest is missing
 */
export function findPackage(index: string, name: string, what: string): PackageEntry {
  const line = `Package: ${name}\n`;
  const at = index.startsWith(line) ? 0 : index.lastIndexOf(`\n${line}`);
  if (at < 0) throw bad(what, `it has no package ${name}`);
  const end = index.indexOf('\n\n', at + 1);
  const stanza = index.slice(at, end < 0 ? undefined : end);
  const field = (key: string) => new RegExp(`^${key}: (.*)$`, 'm').exec(stanza)?.[1]?.trim() ?? '';
  const sha256 = field('SHA256');
  const [version, bytes] = [field('Version'), Number(field('Size'))];
  if (!/^[0-9a-f]{64}$/.test(sha256) || version === '' || !Number.isSafeInteger(bytes)) {
    throw bad(what, `package ${name} is not described`);
  }
  return { name, version, sha256, bytes, depends: field('Depends') };
}

/** What lies between the armour of a clear-signed text (RFC 9580, section 7). */
function signedText(text: string, what: string): string {
  const head = '-----BEGIN PGP SIGNED MESSAGE-----\n';
  if (!text.startsWith(head)) return text;
  const begin = text.indexOf('\n\n', head.length - 1);
  const end = text.indexOf('\n-----BEGIN PGP SIGNATURE-----\n');
  if (begin < 0 || end < begin) throw bad(what, 'its signature is cut short');
  return text.slice(begin + 2, end).replace(/^- /gm, '');
}

function bad(what: string, why: string): GodwitError {
  return new GodwitError('image.bad_archive', { what, why });
}
