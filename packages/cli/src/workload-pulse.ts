/**
 * The workload has no console; its sign of life is its count of writes, asked of the agents themselves
 * every few milliseconds. Whoever owns the guest answers; the others say that they do not.
 *
 * Asking costs the agent's main thread a request, so it is done only while a move is under way.
 */
import { pause } from './api-client.ts';
import type { GapMeter } from './gap-meter.ts';

const EVERY_MS = 4;
const ANSWER_DEADLINE_MS = 2_000;

interface Pulse {
  readonly epoch: number;
  readonly writes: number;
  readonly running: boolean;
}

/**
 * Marks the meter each time the guest has written more than ever before, until aborted.
 * @param controls addresses of all agents' control servers
 * @param headers with the cluster's token, if it has one
 */
export async function followPulse(
  guest: string,
  controls: readonly string[],
  headers: Readonly<Record<string, string>>,
  meter: GapMeter,
  signal: AbortSignal,
): Promise<void> {
  let highest = -1;
  const follow = async (control: string) => {
    while (!signal.aborted) {
      const pulse = await ask(`http://${control}/v1/guests/${guest}/pulse`, headers, signal);
      if (pulse?.running && pulse.writes > highest) {
        highest = pulse.writes;
        meter.mark();
      }
      await pause(EVERY_MS, signal);
    }
  };
  await Promise.all(controls.map(follow));
}

async function ask(
  url: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Pulse | undefined> {
  try {
    const response = await fetch(url, {
      headers,
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_DEADLINE_MS)]),
    });
    const body = await response.text();
    return response.ok ? (JSON.parse(body) as Pulse) : undefined;
  } catch {
    return undefined; // No answer is what the meter is there to see.
  }
}
