/**
 * The package's compiled modules, one of each a thread, kept for the life of the thread.
 *
 * machine, page ops -> [wasm module] -> an instance a guest
 *
 * V8 compiles quickly first and well what then runs often, and shares the result between the threads of
 * a process for as long as one of them holds the module. A module made anew for each guest would begin
 * every migration with slow code, at the source's zero test as in the hart at the target, and pay for
 * the better one each time.
 */
import { readFileSync } from 'node:fs';

export type WasmModuleName = 'machine' | 'profiled' | 'page';

const modules = new Map<WasmModuleName, WebAssembly.Module>();

/** @throws Error when the core was not built (`npm run build -w @godwit/machine`) */
export function wasmModule(name: WasmModuleName): WebAssembly.Module {
  const known = modules.get(name);
  if (known !== undefined) return known;
  const bytes = readFileSync(new URL(`../build/${name}.wasm`, import.meta.url));
  const module = new WebAssembly.Module(bytes);
  modules.set(name, module);
  return module;
}
