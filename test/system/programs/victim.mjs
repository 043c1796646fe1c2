// A client to be killed: keeps many requests of all kinds in flight, and leases, regions and events coming and going, until something ends it.
// Usage: node victim.mjs '{"socket": PATH, "tenant": NAME, "queues": "shared" | "own"}'. Prints "busy" when all of it is under way.
import { connect } from '../../../dist/client/index.js';

const LANES = 32;
const LANE_BLOCKS = 32;

const { socket, tenant, queues } = JSON.parse(process.argv[2]);
const client = await connect({ socket, tenant, name: `victim ${process.pid}` });
const device = await client.openDevice('nvme0', { queues });
const share = device.share('data');
const { blockBytes } = share;
const events = device.events({ completions: true });
await device.bindVector(device.queue.vector);

/** Inline reads and writes, and now and then something else. */
async function blocks(lane) {
  const data = Buffer.alloc(LANE_BLOCKS * blockBytes, `victim ${process.pid} `);
  const first = lane * LANE_BLOCKS;
  for (let turn = 0; ; turn++) {
    const count = 1 + ((turn * 7 + lane) % LANE_BLOCKS);
    if (turn % 8 === 7) await share.flush();
    else if (turn % 8 === 6) await share.writeZeroBlocks(first, count);
    else if (turn % 2 === 0) await share.writeBlocks(first, data.subarray(0, count * blockBytes));
    else await share.readBlocks(first, count, { into: data.subarray(0, count * blockBytes) });
    if (turn === 0) started();
  }
}

/** Data that move between device and region. */
async function regions(lane) {
  const bytes = 64 * blockBytes;
  for (let turn = 0; ; turn++) {
    const region = await client.allocate(bytes);
    for (let step = 0; step < 8; step++) {
      await share.readInto(region, 0, lane * bytes, bytes);
      await share.writeFrom(region, 0, lane * bytes, bytes);
    }
    await region.unmap();
    if (turn === 0) started();
  }
}

/** A second lease that comes and goes. */
async function leases() {
  for (let turn = 0; ; turn++) {
    const second = await client.openDevice('nvme0', { queues: 'shared' });
    await second.share('data').readBlocks(0, 1);
    await second.close();
    if (turn === 0) started();
  }
}

async function listen() {
  for await (const event of events)
    if (event.type !== 'completion' && event.type !== 'interrupt' && event.type !== 'dropped') console.log(event.type);
}

const all = [...Array.from({ length: LANES }, (_, lane) => blocks(lane)), regions(40), regions(41), leases(), listen()];
let waiting = all.length - 1;
function started() {
  if (--waiting === 0) console.log('busy');
}
await Promise.all(all);
