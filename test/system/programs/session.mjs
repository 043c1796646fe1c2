/** The least of a client that the programs here need, beside the package's folders: `open(SOCKET, TENANT)` and what fetches descriptors for a ticket. */
import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { Packr, Unpackr } from 'msgpackr';
import { WebSocket } from 'ws';
import { shm } from './dist/native/shm.js';

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });

/** Sends a ticket, with a descriptor to `pass` if there is one. */
export async function fetch(ticket, where, count, pass) {
  const connection = shm().connect(where);
  if (pass === undefined) shm().send(connection, ticket, 0, ticket.length);
  else shm().sendDescriptors(connection, ticket, [pass]);
  const status = new Uint8Array(1);
  for (;;) {
    const got = shm().receiveDescriptors(connection, status, count);
    if (got.bytes >= 0) return { status: got.bytes === 0 ? -1 : status[0], descriptors: got.descriptors, connection };
    await turn();
  }
}

/** A session that has said hello and set a domain: its socket, and what asks. */
export async function open(path, tenant) {
  const socket = new WebSocket(`ws+unix://${path}:/`, 'ringwarden.v1', { perMessageDeflate: false });
  await once(socket, 'open');
  let id = 0;
  async function call(type, fields = {}) {
    socket.send(packr.pack({ type, id: ++id, ...fields }));
    for (;;) {
      const [data] = await once(socket, 'message');
      const message = unpackr.unpack(data);
      if (message.id !== id) continue;
      if (message.type === 'error') throw new Error(message.name);
      return message;
    }
  }
  await call('hello', { version: 1, tenant });
  await call('setDomain');
  return { socket, call };
}
