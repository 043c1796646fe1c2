// The yardstick's client: sends the bytes of so many requests, and resolves when the answer is there.
import { Packr } from 'msgpackr';
import { WebSocket } from 'ws';

export async function connectEcho(path) {
  const packr = new Packr({ useRecords: false });
  const socket = new WebSocket(`ws+unix://${path}:/`, { perMessageDeflate: false, maxPayload: 1 << 24 });
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  const waiting = [];
  socket.on('message', (message) => {
    packr.unpack(message);
    waiting.shift()();
  });
  return {
    /** `requests` entries of 64 bytes there, as many completions and `want` bytes of data back. */
    ask(requests, want = 0) {
      socket.send(packr.pack({ type: 'submit', lease: 1, queue: 0, entries: Buffer.alloc(requests * 64), want }));
      return new Promise((resolve) => waiting.push(resolve));
    },
    close: () => socket.close(),
  };
}
