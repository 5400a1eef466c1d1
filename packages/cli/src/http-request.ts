/**
 * One HTTP request on a connection of its own, with what Node has built in.
 *
 *   api-client.ts -> [http request] -> node:http, node:https
 *
 * Node's `fetch` is a library that takes 50 ms to load, longer than most commands take. The connection
 * ends with the answer, so nothing keeps the process alive and no stale connection is used again.
 */
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';

/** Without it the kernel would try for two minutes. */
const CONNECT_DEADLINE_MS = 10_000;

export interface HttpRequest {
  readonly url: string;
  readonly method?: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Ends the request and the reading of its answer. */
  readonly signal: AbortSignal;
}

export interface HttpAnswer {
  readonly status: number;
  readonly ok: boolean;
  readonly headers: IncomingHttpHeaders;
  /** The whole body. @throws as `httpRequest` does */
  text(): Promise<string>;
  /** The body as it comes; characters are whole. */
  chunks(): AsyncIterable<string>;
  /** For an answer that nobody reads to its end: the connection would stay. */
  close(): void;
}

/** @throws the signal's reason; an Error with an errno or a code of TLS in `code` */
export async function httpRequest(what: HttpRequest): Promise<HttpAnswer> {
  const { url, method = 'GET', headers, body, signal } = what;
  const isSecure = url.startsWith('https:');
  const { request } = builtIn(isSecure);
  const outgoing = request(url, { method, headers, signal, agent: false });
  limitConnecting(outgoing, isSecure ? 'secureConnect' : 'connect');
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve);
    // It may fail once more when its answer is cut off; who reads the answer hears of that there.
    outgoing.on('error', (error) => reject(reasonOf(signal, error)));
    outgoing.end(body);
  });
  response.setEncoding('utf8');
  const status = response.statusCode ?? 0;
  return {
    status,
    ok: status >= 200 && status < 300,
    headers: response.headers,
    text: () => textOf(response, signal),
    chunks: () => response,
    close: () => void response.destroy(),
  };
}

/**
 * Not by `import`: that reads every name which node:http exports, and one of them loads the library of
 * `fetch`. The one of https brings all of TLS along.
 */
function builtIn(isSecure: boolean) {
  return isSecure ? process.getBuiltinModule('node:https') : process.getBuiltinModule('node:http');
}

function limitConnecting(outgoing: ClientRequest, connected: 'connect' | 'secureConnect'): void {
  const timer = setTimeout(() => {
    outgoing.destroy(Object.assign(new Error('no connection in time'), { code: 'ETIMEDOUT' }));
  }, CONNECT_DEADLINE_MS);
  const stop = () => clearTimeout(timer);
  outgoing.once('socket', (socket) => socket.once(connected, stop));
  outgoing.once('close', stop);
}

function textOf(response: IncomingMessage, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    response.on('data', (piece: string) => {
      text += piece;
    });
    response.once('end', () => resolve(text));
    response.once('error', (error) => reject(reasonOf(signal, error)));
  });
}

/** A request that was ended fails with whatever it was doing just then. */
function reasonOf(signal: AbortSignal, error: Error): unknown {
  return signal.aborted ? signal.reason : error;
}
