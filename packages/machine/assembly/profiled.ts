/** Entry of the variant of the core that counts what it does: `godwit machine run --profile`. */
// The decorator makes it visible to isDefined() in every file of this module.
@global export const PROFILED = true;

export { run } from './hart';
