/** The yardstick's client: sends the bytes that the SDK would send, and waits for the answer. */
import { Packr } from 'msgpackr';
import { WebSocket } from 'ws';
import { answerCalls } from './child.mjs';
import { percentile, rate, roundTrips } from './measure.mjs';

const ENTRY_BYTES = 64;
const packr = new Packr({ useRecords: false });
const waiting = [];
const sockets = [];

/** A message with `requests` entries there, and the answer back. Answers come in order. */
function ask(requests) {
  sockets[0].send(packr.pack({ type: 'submit', lease: 1, queue: 0, entries: Buffer.alloc(requests * ENTRY_BYTES) }));
  return new Promise((resolve) => waiting.push(resolve));
}

async function open(path) {
  const socket = new WebSocket(`ws+unix://${path}:/`, { perMessageDeflate: false, maxPayload: 1 << 24 });
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  socket.on('message', (message) => {
    packr.unpack(message);
    waiting.shift()();
  });
  sockets.push(socket);
}

answerCalls({
  open,
  async roundTrips(count) {
    const taken = await roundTrips(count, () => ask(1));
    return { p50: percentile(taken, 0.5), p99: percentile(taken, 0.99) };
  },
  /** Requests a second, `depth` messages of `requests` under way. */
  rate: (milliseconds, depth, requests) => rate(milliseconds, depth, requests, () => ask(requests)),
});
