/**
 * What channel threads take from node:http and node:crypto, and nothing else of them.
 *
 * An `import` of a built-in module reads each of its names to make it a name of the module, and behind
 * some of them stand whole libraries that are loaded when they are first read: `fetch`, Web Crypto. That
 * is 15 to 20 ms of a core a thread, a sixth of what starting one takes, and a migration over two
 * channels starts four to six of them.
 */
export const { createServer } = process.getBuiltinModule('node:http');
export const { randomFillSync, randomInt, timingSafeEqual } =
  process.getBuiltinModule('node:crypto');
