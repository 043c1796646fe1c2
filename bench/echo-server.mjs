/**
 * The yardstick: the barest server of the same kind, ws and msgpackr over a Unix socket. It answers with as many bytes as it is asked for and does
 * nothing else.
 */
import { createServer } from 'node:http';
import { Packr } from 'msgpackr';
import { WebSocketServer } from 'ws';
import { answerCalls } from './child.mjs';

const packr = new Packr({ useRecords: false });

answerCalls({
  /** Answers a submit with half as many bytes of completions as it has of entries, and `data` bytes of data if it asks for some. */
  listen(path, data) {
    const server = createServer();
    const sockets = new WebSocketServer({ server, perMessageDeflate: false, maxPayload: 1 << 24 });
    sockets.on('connection', (socket) => {
      socket.on('message', (message) => {
        const { lease, queue, entries } = packr.unpack(message);
        const answer = { type: 'completions', lease, queue, entries: Buffer.alloc(entries.length / 2) };
        const bytes = (entries.length / 64) * data;
        if (bytes > 0) answer.data = Buffer.alloc(bytes);
        socket.send(packr.pack(answer));
      });
    });
    return new Promise((resolve) => server.listen(path, () => resolve()));
  },
});
