/** The waiting line: never more at once than it lets in, in order, and nobody is forgotten after a failure. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Line } from '../src/line.ts';

test('any number of works runs in order, at most so many at once, whichever of them fail', async () => {
  const works = fc.array(fc.record({ turns: fc.nat(5), fails: fc.boolean() }), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 4 }), works, async (atOnce, given) => {
      const line = new Line(atOnce);
      const begun: number[] = [];
      let running = 0;
      let most = 0;
      const results = await Promise.allSettled(
        given.map(({ turns, fails }, at) =>
          line.run(async () => {
            begun.push(at);
            most = Math.max(most, ++running);
            for (let i = 0; i < turns; i++) await Promise.resolve();
            running -= 1;
            if (fails) throw new Error(`work ${at}`);
            return at;
          }),
        ),
      );
      assert.deepEqual(begun, [...given.keys()]);
      assert.ok(most <= atOnce);
      results.forEach((result, at) => {
        assert.equal(result.status, given[at]!.fails ? 'rejected' : 'fulfilled');
      });
    }),
  );
});

test('as many as may run at once do', async () => {
  const line = new Line(2);
  const gates = [0, 1, 2].map(() => Promise.withResolvers<void>());
  const begun: number[] = [];
  const ended = gates.map((gate, at) =>
    line.run(async () => {
      begun.push(at);
      await gate.promise;
    }),
  );
  assert.deepEqual(begun, [0, 1]);
  gates[1]!.resolve();
  await ended[1];
  assert.deepEqual(begun, [0, 1, 2]);
  for (const gate of gates) gate.resolve();
  await Promise.all(ended);
});
