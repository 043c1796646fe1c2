// The yardstick: the barest server of the same kind, ws and msgpackr over a Unix socket, that answers what it is asked for and does nothing else.
// argv[2]: socket path. Requests are maps {type, id, want} or with entries; the answer has `want` bytes of completions and `data` bytes of data.
import { createServer } from 'node:http';
import { Packr } from 'msgpackr';
import { WebSocketServer } from 'ws';

const packr = new Packr({ useRecords: false });
const server = createServer();
const sockets = new WebSocketServer({ server, perMessageDeflate: false, maxPayload: 1 << 24 });
sockets.on('connection', (socket) => {
  socket.on('message', (message) => {
    const request = packr.unpack(message);
    const answer = { type: 'completions', lease: request.lease, queue: request.queue, entries: Buffer.alloc(request.entries.length / 2) };
    if (request.want > 0) answer.data = Buffer.alloc(request.want);
    socket.send(packr.pack(answer));
  });
});
server.listen(process.argv[2], () => process.send('ready'));
process.on('disconnect', () => process.exit(0));
