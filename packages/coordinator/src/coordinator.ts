/**
 * The coordinator in one process: parts made and wired, nothing else.
 *
 *   store --> records --> agents, guests, migrations, drains --> views, commands --> API server
 *
 * Agents bring news in this order, and each is finished before the next: proofs of death, what the
 * guests are, what the migrations are. So a migration that is taken up finds the guests' records
 * right, and nobody speaks for an incarnation that is known to be dead.
 */

import { Agents, type AgentsListener } from './agents.ts';
import type { Server } from './api/server.ts';
import { makeServer } from './api/server.ts';
import { Checkpoints } from './checkpoints.ts';
import type { FaultPoints } from './fault-points.ts';
import { GuestCommands } from './guest-commands.ts';
import { GuestViews } from './guest-views.ts';
import { Guests } from './guests.ts';
import { Images } from './images.ts';
import type { Logger } from './log.ts';
import { Migrations } from './migrations/migrations.ts';
import { Cordons } from './placement/cordons.ts';
import { Drains } from './placement/drains.ts';
import { Leavers } from './placement/leavers.ts';
import { Room } from './placement/room.ts';
import { Settings } from './placement/settings.ts';
import { loadRecords, type Records } from './records.ts';
import type { Store } from './store/store.ts';

export interface CoordinatorOptions {
  readonly store: Store;
  readonly log: Logger;
  readonly token?: string | undefined;
  readonly faults?: FaultPoints | undefined;
  /** A person asked for the end of the whole cluster, and all agents were told. */
  readonly onShutdown: () => void;
  /** The store went back in time, and is marked: this object is of no more use. */
  readonly onBehind: () => void;
}

/** How long `shutdown` waits for the agents; a guest is not saved, so there is little to do. */
const SHUTDOWN_DEADLINE_MS = 5_000;

export class Coordinator {
  readonly server: Server;
  readonly #records: Records;
  readonly #agents: Agents;
  readonly #guests: Guests;
  readonly #commands: GuestCommands;
  readonly #images: Images;
  readonly #migrations: Migrations;
  readonly #cordons: Cordons;
  readonly #drains: Drains;
  readonly #leavers: Leavers;
  readonly #onBehind: () => void;

  private constructor(records: Records, options: CoordinatorOptions) {
    const { log, faults, token, onShutdown } = options;
    this.#records = records;
    this.#onBehind = options.onBehind;
    const agents = new Agents(records, log, this.#listener());
    const guests = new Guests(records, agents, log);
    const images = new Images(records, agents, log);
    const settings = new Settings(records);
    const cordons = new Cordons(records);
    const limits = () => settings.moves;
    const room = new Room(records, agents, cordons, {
      waiting: () => migrations.waitingMoves(),
      open: () => migrations.openMoves(),
    });
    const migrations = new Migrations({
      ...{ records, agents, guests, cordons, room, log, faults, limits },
      stopGuest: (guest) => commands.carryOutStop(guest),
      settled: () => drains.lookAll(),
    });
    const views = new GuestViews(guests, agents, migrations);
    const drains = new Drains({
      ...{ records, agents, migrations, views, cordons, room, log, limits },
      changed: (drain) => leavers.changed(drain),
    });
    const leavers = new Leavers(agents, drains, log);
    this.#leavers = leavers;
    const parts = { records, agents, guests, images, migrations, views, cordons, room, log };
    const commands = new GuestCommands(parts);
    const checkpoints = new Checkpoints(parts);
    this.#commands = commands;
    this.#cordons = cordons;
    this.#drains = drains;
    this.#agents = agents;
    this.#guests = guests;
    this.#images = images;
    this.#migrations = migrations;
    this.server = makeServer({
      parts: {
        ...parts,
        commands,
        checkpoints,
        drains,
        settings,
        shutdown: () => this.#shutdown(onShutdown),
      },
      token,
      log,
    });
  }

  /** Reads the records and takes up what was open; the server does not listen yet. */
  static async start(options: CoordinatorOptions): Promise<Coordinator> {
    const coordinator = new Coordinator(await loadRecords(options.store), options);
    await coordinator.#guests.checkOwners();
    coordinator.#migrations.takeUp();
    coordinator.#drains.takeUp();
    return coordinator;
  }

  /** Ends this process's part but for the store; agents and guests go on. */
  async close(): Promise<void> {
    this.#drains.close();
    this.#migrations.close();
    this.#images.close();
    this.#guests.close();
    this.#agents.close();
    await this.server.close();
  }

  async #shutdown(onShutdown: () => void): Promise<void> {
    this.#guests.beginShutdown();
    await this.#guests.shutDown(await this.#agents.shutdownAll(SHUTDOWN_DEADLINE_MS));
    setImmediate(onShutdown);
  }

  #listener(): AgentsListener {
    return {
      behind: () => {
        const { store } = this.#records;
        if (!store.isBehind) void store.markBehind().then(this.#onBehind);
      },
      died: async (death) => {
        await this.#guests.died(death);
        this.#migrations.died(death);
      },
      hello: async (live, guests, migrations) => {
        await this.#migrations.hello(live, guests, migrations);
        await this.#guests.hello(live, guests);
        this.#commands.carryOutStops(live);
        await this.#cordons.arrived(live.name, live.incarnation);
        void this.#migrations.look();
        this.#drains.lookAll();
      },
      reports: (live, guests) => this.#guests.reports(live, guests),
      message: async (live, message) => {
        if (message.type === 'guestEvent') await this.#guests.event(live, message);
        else if (message.type === 'leaving') await this.#leavers.ask(live);
        else if (message.type === 'images') this.#images.heard(live, message);
        else await this.#migrations.message(live, message);
      },
      holdsGuests: (host, incarnation) =>
        this.#guests.holds(host, incarnation) || this.#migrations.involves(host, incarnation),
    };
  }
}
