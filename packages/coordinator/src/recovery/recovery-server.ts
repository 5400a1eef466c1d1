/**
 * The server while the store is behind: what it waits for, the two things a person can do about it,
 * and the agents. Everything else is refused with the reason and the next step.
 */
import websocket from '@fastify/websocket';
import { CONTROL_MESSAGE_BYTES_MAX, GodwitError } from '@godwit/protocol';
import { ROUTES } from '@godwit/protocol/http-api';
import fastify from 'fastify';
import { Access, type Listen } from '../api/access.ts';
import { answerErrors, listenOn, takeEmptyJson } from '../api/server.ts';
import type { Logger } from '../log.ts';
import type { Store } from '../store/store.ts';
import type { Recovery } from './recovery.ts';

export interface RecoveryServerOptions {
  readonly recovery: Recovery;
  readonly store: Store;
  readonly token: string | undefined;
  readonly log: Logger;
}

export function makeRecoveryServer({ recovery, store, token, log }: RecoveryServerOptions) {
  const app = fastify({ forceCloseConnections: true, exposeHeadRoutes: false });
  const access = new Access(token);
  const refuse = (): never => {
    const { id: storeId, revision: found } = store;
    throw new GodwitError('store.back_in_time', { storeId, seen: found + 1, found });
  };
  app.register(websocket, {
    options: { maxPayload: CONTROL_MESSAGE_BYTES_MAX, perMessageDeflate: false },
  });
  app.addHook('onRequest', async (request) => access.check(request.headers));
  answerErrors(app, log);
  takeEmptyJson(app);
  app.register(async (scope) => {
    scope.get(ROUTES.recovery.path, async () => recovery.view());
    scope.post(ROUTES.recover.path, async () => recovery.begin());
    scope.post<{ Params: { host: string } }>(ROUTES.fenceHost.path, async ({ params, body }) => {
      await recovery.fence(params.host, ROUTES.fenceHost.body.parse(body).discardTarget);
      return { lost: [] };
    });
    scope.all('/*', async () => refuse());
    scope.get(ROUTES.agents.path, { websocket: true }, (socket, request) =>
      recovery.attach(socket, request.ip),
    );
  });
  return {
    listen: (listen: Listen) => listenOn(app, listen),
    close: async () => {
      await app.close();
    },
  };
}
