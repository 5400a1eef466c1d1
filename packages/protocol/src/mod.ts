/** Public names of the protocol package. */
export { assert } from './assert.ts';
export * from './codec.ts';
export * from './cores/mod.ts';
export * from './error-text.ts';
export * from './errors.ts';
export * from './frames.ts';
export type * from './http-api/mod.ts';
export * from './limits.ts';
export * from './messages.ts';
export * from './prometheus.ts';
export type { Field, Fields, Infer, InferFields } from './schema.ts';
export { pack, unpack } from './schema.ts';
export * from './token.ts';
