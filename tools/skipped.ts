/**
 * A reporter for Node's test runner: at the end of a run, what was skipped and why, a line each.
 *
 *   skipped: a console on a terminal: needs python3: install Debian package python3
 *
 * The runner's own count leaves out suites that are skipped as a whole. `.ci/run` reads these lines.
 */
import type { TestEvent } from 'node:test/reporters';

export default async function* skipped(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const lines: string[] = [];
  for await (const event of events) {
    if (event.type !== 'test:pass' || event.data.skip === undefined) continue;
    const { name, skip } = event.data;
    lines.push(
      `skipped: ${name}: ${typeof skip === 'string' && skip !== '' ? skip : 'no reason given'}\n`,
    );
  }
  yield* lines;
}
