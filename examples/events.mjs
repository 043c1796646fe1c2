// What happens without being asked for: completions, interrupts of a vector, resets. Events come by async iteration.
import { connect } from 'ringwarden/client';

const client = await connect({ tenant: 'alice' });
try {
  const device = await client.openDevice('nvme0');
  const share = device.share('data');

  // From here on. A reader that is late loses the oldest events, and is told how many: {type: 'dropped', count}.
  const events = device.events({ completions: true });
  const vector = device.queue.vector;
  await device.bindVector(vector);

  await share.writeBlocks(0, Buffer.alloc(share.blockBytes, 'event '));
  await share.flush();
  await device.reset();

  // The reset ended requests in flight, of which there were none, and gave the lease a new generation.
  await share.readBlocks(0, 1);

  let completions = 0;
  let interrupts = 0;
  for await (const event of events) {
    if (event.type === 'completion') {
      completions++;
      console.log(`completion: ${event.operation}, code ${event.code}`);
    } else if (event.type === 'interrupt') {
      interrupts += event.count;
      console.log(`interrupt: vector ${event.vector}, ${event.count}x`);
    } else {
      console.log(`event: ${event.type}`);
    }
    if (completions === 3 && interrupts > 0) break;
  }
  console.log(`generation ${device.generation} after ${completions} completions and ${interrupts > 0 ? 'at least one interrupt' : 'no interrupt'}`);
} finally {
  await client.close();
}
