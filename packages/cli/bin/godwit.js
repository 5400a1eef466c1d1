#!/usr/bin/env node
/**
 * Start of the `godwit` command, in plain JavaScript because it must also run on a machine whose
 * Node is too old for the rest: the sources are TypeScript and need Node 24, which the repository
 * pins as a package of its own. On such a machine this process only starts that Node and passes
 * signals and the exit code on.
 */
import { spawn } from 'node:child_process';
import module, { createRequire } from 'node:module';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

const NODE_MAJOR_MIN = 24;

if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR_MIN) {
  // Stripping the types of a hundred files takes longer than most commands; it is done once.
  module.enableCompileCache?.(
    fileURLToPath(new URL('../../../node_modules/.cache/godwit', import.meta.url)),
  );
  const { main } = await import('../src/main.ts');
  await main();
} else {
  startPinnedNode();
}

function startPinnedNode() {
  let node;
  try {
    node = createRequire(import.meta.url).resolve('node/bin/node');
  } catch {
    process.stderr.write(
      `error: Node ${process.versions.node} is too old and the pinned one is not installed\n` +
        `hint: use Node ${NODE_MAJOR_MIN} or newer, or run npm ci without --ignore-scripts\n`,
    );
    process.exit(1);
  }
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: 'inherit',
  });
  // A terminal signals the whole group, so the child may hear Ctrl-C twice; it takes two within a
  // second for one.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => child.kill(signal));
  }
  child.on('exit', (code, signal) => {
    process.exit(code ?? 128 + (constants.signals[signal] ?? 0));
  });
}
