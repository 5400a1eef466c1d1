/** A channel within one machine is not paced; what an operator chose for the network stays. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import {
  CAPABILITY_CHARS,
  emptyHeader,
  encodeHeader,
  FRAME_HEADER_BYTES,
  OPCODE,
} from '@godwit/protocol';
import { Admission } from '../src/channel/admission.ts';
import { IPPROTO_TCP, TCP_CONGESTION } from '../src/channel/socket-option.ts';
import { takeOffPacing } from '../src/channel/unpaced.ts';
import { libraryFunction } from '../src/libc.ts';

const NAME_BYTES_MAX = 16;

type GetSocketOption = (
  descriptor: number,
  level: number,
  name: number,
  value: Uint8Array,
  bytes: Uint32Array,
) => number;

/** What the kernel says of a socket. */
function congestionControl(socket: Socket): string {
  const getsockopt = libraryFunction<GetSocketOption>(
    'int getsockopt(int descriptor, int level, int name, _Out_ void *value, _Inout_ uint32_t *bytes)',
  );
  assert.notEqual(typeof getsockopt, 'string', String(getsockopt));
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
  const name = Buffer.alloc(NAME_BYTES_MAX);
  const bytes = Uint32Array.of(NAME_BYTES_MAX);
  const answer = (getsockopt as GetSocketOption)(fd, IPPROTO_TCP, TCP_CONGESTION, name, bytes);
  assert.equal(answer, 0);
  return name.toString('latin1').replace(/\0.*/, '');
}

/** A connection between two addresses of this machine, as its accepting end sees it. */
async function accepted(t: TestContext, host: string, localAddress: string) {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const connection = once(server, 'connection');
  const { port } = server.address() as AddressInfo;
  const near = connect({ host, port, localAddress });
  const [far] = (await connection) as [Socket];
  t.after(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return far;
}

const skip = process.platform !== 'linux' && 'TCP_CONGESTION needs Linux';

describe('pacing', { skip }, () => {
  const usual = skip
    ? ''
    : readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'latin1').trim();

  it('is off where both ends have one address', async (t) => {
    const far = await accepted(t, '127.0.0.1', '127.0.0.1');
    assert.equal(congestionControl(far), usual);
    assert.equal(takeOffPacing(far), true);
    assert.equal(congestionControl(far), 'reno');
  });

  it('is off on the channel of a target that was let in', async (t) => {
    const options = { migration: 'm1', capability: 'c'.repeat(CAPABILITY_CHARS), channel: 0 };
    const attached = Promise.withResolvers<Socket>();
    const admission = new Admission(
      { ...options, kind: 'pages', host: '127.0.0.1', ports: null },
      { attached: ({ writer }) => attached.resolve(writer.socket), frame() {}, lost() {} },
    );
    t.after(() => admission.close());
    const target = new WebSocket(`ws://127.0.0.1:${await admission.listen()}/v1/pages/m1`);
    target.onopen = () => {
      const bytes = new Uint8Array(FRAME_HEADER_BYTES + CAPABILITY_CHARS);
      const header = { ...emptyHeader(), opcode: OPCODE.ATTACH, round: 1 };
      encodeHeader(new DataView(bytes.buffer), 0, header);
      bytes.set(Buffer.from(options.capability), FRAME_HEADER_BYTES);
      target.send(bytes);
    };
    assert.equal(congestionControl(await attached.promise), 'reno');
  });

  it('is left as it is between two addresses', async (t) => {
    const far = await accepted(t, '127.0.0.2', '127.0.0.3');
    assert.equal(takeOffPacing(far), false);
    assert.equal(congestionControl(far), usual);
  });

  it('is no matter of a socket that is closed', async (t) => {
    const far = await accepted(t, '127.0.0.1', '127.0.0.1');
    far.destroy();
    await once(far, 'close');
    assert.equal(takeOffPacing(far), false);
  });
});
