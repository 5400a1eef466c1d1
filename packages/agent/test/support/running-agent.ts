/**
 * One agent in the test's own process, connected to a pretended coordinator; both end with the test.
 */
import type { TestContext } from 'node:test';
import { Agent, noMigrations } from '../../src/agent.ts';
import { parseOptions } from '../../src/options.ts';
import { CoordinatorSeen } from '../../src/state/coordinator-seen.ts';
import { Journal } from '../../src/state/journal.ts';
import { silent, stateDir, until } from './agent-parts.ts';
import { FakeCoordinator } from './fake-coordinator.ts';

export interface RunningAgent {
  readonly agent: Agent;
  readonly coordinator: FakeCoordinator;
  readonly dir: string;
}

/** @param flags of the command line, more than name, directory, address and 64 MiB of memory */
export async function startAgent(
  t: TestContext,
  flags: string[] = [],
  createMigrations = noMigrations,
): Promise<RunningAgent> {
  const running = await makeAgent(t, stateDir(t), flags, createMigrations);
  const { agent } = running;
  await agent.start();
  await until('the hello', () => agent.link.connected);
  return running;
}

/** One that has not started yet. @param dir may hold what former lives left */
export async function makeAgent(
  t: TestContext,
  dir: string,
  flags: string[] = [],
  createMigrations = noMigrations,
): Promise<RunningAgent> {
  const coordinator = await FakeCoordinator.listen();
  const args = ['--name', 'a', '--state-dir', dir, '--listen', '127.0.0.1:0', '--memory', '64MiB'];
  const options = parseOptions([...args, '--coordinator', coordinator.url, ...flags], {});
  const agent = new Agent({
    options,
    incarnation: 'life-2',
    journal: Journal.open(dir, 'life-2'),
    seen: CoordinatorSeen.open(dir),
    deaths: Journal.readDeaths(dir, 'life-2'),
    log: silent,
    createMigrations,
  });
  t.after(async () => {
    await agent.close();
    await coordinator.close();
  });
  return { agent, coordinator, dir };
}
