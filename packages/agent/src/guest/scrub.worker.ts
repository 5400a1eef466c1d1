/**
 * Thread entry: zeroes memories that guests have left, in the time that others leave.
 *
 *   memory pool: a memory came back -> [scrub] -> all of RAM is zero -> the next guest
 *
 * A guest leaves at the end of a migration, while its first instructions run at the target and the coordinator
 * writes down who owns it: a thread that fills a gigabyte at full speed would hold them up where
 * processors are few. It yields once and for good, so these threads do nothing else.
 */
import { loadPageOps, memoryMap as map } from '@godwit/machine/memory';
import { yieldProcessor } from '../channel/background.ts';
import { serveThread } from '../thread.ts';

yieldProcessor();

const commands = {
  /**
   * Nobody's memory any more: its control block may be the next guest's already. What is zero is only
   * read, at half the price, and a guest's memory is zero for the most part.
   */
  scrub(memory: WebAssembly.Memory, pages: number): void {
    const { firstNonZero, fill } = loadPageOps(memory);
    for (let page = 0; page < pages; page++) {
      page += firstNonZero(map.RAM + page * map.PAGE_SIZE, pages - page);
      if (page < pages) fill(map.RAM + page * map.PAGE_SIZE, 0, map.PAGE_SIZE);
    }
  },
  async close(): Promise<void> {},
};

export type ScrubCommands = typeof commands;

serveThread(commands);
