/** The floating-point arithmetic by itself (assembly/float.ts): functions from bits to bits. */
import { readFileSync } from 'node:fs';

type Operation = (...operands: bigint[]) => bigint;

const bytes = readFileSync(new URL('../../build/float.wasm', import.meta.url));
// Declared like the machine's, used by nothing.
const memory = new WebAssembly.Memory({ initial: 2, maximum: 65536, shared: true });
const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } });
const begin = exports.begin as (mode: number, flags: number) => void;
const readFlags = exports.flags as () => number;

/** One operation, by its name in the module: result, and all flags raised afterwards. */
export function compute(
  name: string,
  operands: readonly bigint[],
  mode: number,
  flagsBefore = 0,
): { bits: bigint; flags: number } {
  begin(mode, flagsBefore);
  const bits = (exports[name] as Operation)(...operands);
  return { bits: BigInt.asUintN(64, bits), flags: readFlags() };
}
