/** Tries to win every page, from another place on each thread; gives some back and tries again. */
import { parentPort, workerData } from 'node:worker_threads';
import { GuestMemory } from '../../src/guest-memory.ts';
import { PageStates } from '../../src/page-states.ts';

const guest = GuestMemory.adopt(workerData.memory);
const states = new PageStates(guest);
const won: number[] = [];
for (let i = 0; i < guest.pages; i++) {
  const page = (i * 5 + workerData.seed) % guest.pages;
  while (states.tryLand(page)) {
    if ((page ^ workerData.seed) % 7 === 0 && won.length % 2 === 0) {
      states.backToAbsent(page);
      if (!states.tryLand(page)) break;
    }
    states.makePresent(page);
    won.push(page);
  }
}
parentPort!.postMessage(won);
