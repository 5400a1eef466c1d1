/**
 * What a kernel module says of itself: its name, what must be loaded before it, what it stands for.
 *
 *   module.ko -> [kernel module] -> ModuleInfo;   ModuleInfos -> what to load, in order
 *
 * The section .modinfo of the ELF-64 file holds "key=value" texts, each ended by zeros (the kernel's
 * include/linux/module.h, MODULE_INFO). `depends` are modules by name; `softdep: pre:` are names or
 * aliases that are wanted first where they exist.
 */
import { GodwitError } from '@godwit/protocol';

export interface ModuleInfo {
  readonly name: string;
  readonly depends: readonly string[];
  /** Soft dependencies that come before it. */
  readonly before: readonly string[];
  readonly aliases: readonly string[];
}

const HEADER_BYTES = 64;
const SECTION_BYTES = 64;
const ELF_RISCV = 243;

/** Modules are named with underscores, their files sometimes with dashes. */
export function moduleName(text: string): string {
  return text
    .replace(/^.*\//, '')
    .replace(/\.ko(\..*)?$/, '')
    .replaceAll('-', '_');
}

/** @throws GodwitError `image.bad_archive`: no module of this architecture */
export function readModuleInfo(file: Buffer, path: string): ModuleInfo {
  const texts = section(file, '.modinfo', path).toString('latin1').split('\0');
  const values = (key: string) =>
    texts.filter((text) => text.startsWith(`${key}=`)).map((text) => text.slice(key.length + 1));
  const words = (text: string) => text.split(/[\s,]+/).filter((word) => word !== '');
  const before = values('softdep').flatMap((text) => {
    const pre = /\bpre:\s*(.*?)(?=\bpost:|$)/.exec(text)?.[1];
    return pre === undefined ? [] : words(pre);
  });
  return {
    name: moduleName(values('name')[0] ?? path),
    depends: values('depends').flatMap(words).map(moduleName),
    before,
    aliases: values('alias'),
  };
}

/**
 * The wanted modules and all they need, each after what it needs. Soft dependencies that no module
 * here answers to are left out: they are in the kernel, or the module does without.
 * @throws GodwitError `image.bad_archive`: a module is missing, or they need each other in a circle
 */
export function loadOrder(
  modules: ReadonlyMap<string, ModuleInfo>,
  wanted: readonly string[],
  what: string,
): ModuleInfo[] {
  const byAlias = new Map<string, string>();
  for (const { name, aliases } of modules.values()) {
    for (const alias of aliases) byAlias.set(alias.replaceAll('-', '_'), name);
  }
  const order: ModuleInfo[] = [];
  const state = new Map<string, 'open' | 'done'>();
  const visit = (name: string, neededBy: string): void => {
    if (state.get(name) === 'done') return;
    const bad = (why: string) => new GodwitError('image.bad_archive', { what, why });
    if (state.get(name) === 'open') throw bad(`module ${name} needs itself`);
    const module = modules.get(name);
    if (module === undefined) throw bad(`it has no module ${name}, which ${neededBy} needs`);
    state.set(name, 'open');
    for (const each of module.before) {
      const soft = softTarget(each, modules, byAlias);
      if (soft !== undefined && state.get(soft) !== 'open') visit(soft, name);
    }
    for (const each of module.depends) visit(each, name);
    state.set(name, 'done');
    order.push(module);
  };
  for (const name of wanted) visit(moduleName(name), 'the image');
  return order;
}

/** `softdep: pre: crc32c` means a module of that name, one with that alias, or a cryptographic one. */
function softTarget(
  text: string,
  modules: ReadonlyMap<string, ModuleInfo>,
  byAlias: ReadonlyMap<string, string>,
): string | undefined {
  const name = moduleName(text);
  if (modules.has(name)) return name;
  return byAlias.get(name) ?? byAlias.get(`crypto_${name}`);
}

/** One section of an ELF-64 file. @throws GodwitError `image.bad_archive` */
function section(file: Buffer, wanted: string, what: string): Buffer {
  const bad = (why: string) => new GodwitError('image.bad_archive', { what, why });
  const slice = (offset: number, bytes: number): Buffer => {
    if (offset < 0 || bytes < 0 || offset + bytes > file.length) throw bad('it is cut short');
    return file.subarray(offset, offset + bytes);
  };
  const header = slice(0, HEADER_BYTES);
  if (header.toString('latin1', 0, 4) !== '\x7fELF' || header[4] !== 2 || header[5] !== 1) {
    throw bad('it is no 64-bit ELF file');
  }
  if (header.readUInt16LE(18) !== ELF_RISCV) throw bad('it is not for RISC-V');
  const table = Number(header.readBigUInt64LE(40));
  const count = header.readUInt16LE(60);
  const sections = slice(table, count * SECTION_BYTES);
  const read = (index: number) => {
    const at = index * SECTION_BYTES;
    if (at + SECTION_BYTES > sections.length) throw bad('a section is missing');
    const offset = Number(sections.readBigUInt64LE(at + 24));
    const bytes = Number(sections.readBigUInt64LE(at + 32));
    return { name: sections.readUInt32LE(at), offset, bytes };
  };
  const { offset, bytes } = read(header.readUInt16LE(62));
  const names = slice(offset, bytes);
  for (let i = 0; i < count; i++) {
    const each = read(i);
    const end = names.indexOf(0, each.name);
    if (names.toString('latin1', each.name, Math.max(end, each.name)) !== wanted) continue;
    return slice(each.offset, each.bytes);
  }
  throw bad(`it has no section ${wanted}`);
}
