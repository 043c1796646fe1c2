// Writes a block of a share and reads it back. Needs a server: npx ringwarden serve --sample
import { connect } from 'ringwarden/client';

const client = await connect({ tenant: 'alice' });
const device = await client.openDevice('nvme0');
const share = device.share('data');
const block = Buffer.alloc(share.blockBytes);
block.write('hello, ring');
await share.write(0, block);
const read = await share.read(0, share.blockBytes);
console.log(`block 0 of ${share.size / 2 ** 20} MiB says: ${read.toString('utf8', 0, 11)}`);
await client.close();
