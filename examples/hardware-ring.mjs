// The hardware's own rings, to read: which commands the server made of requests, and what the controller answered. And a vector on an eventfd.
import { closeSync, readSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { connect } from 'ringwarden/client';

/** Takes what an eventfd counted: signals that nobody has taken. A program of its own would wait for it with epoll(7). */
async function take(eventfd) {
  const count = Buffer.alloc(8);
  for (;;) {
    try {
      readSync(eventfd, count);
      return count.readBigUInt64LE();
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
      await setTimeout(1);
    }
  }
}

const client = await connect({ tenant: 'alice' });
try {
  const device = await client.openDevice('nvme0', { queues: 'own', ringView: true });
  const share = device.share('data');
  const ring = await device.hardwareRing();
  const eventfd = await device.bindEventfd(device.queue.vector);

  await share.writeBlocks(3, Buffer.alloc(share.blockBytes));
  await share.readBlocks(3, 1);

  const { submissions, completions, completionTail } = ring.inspect();
  for (const { slot, operation, lba, blocks } of submissions.slice(0, completionTail)) {
    console.log(`${operation} of block ${lba}, ${blocks} of them: ${completions[slot].statusName}, phase ${completions[slot].phase}`);
  }

  console.log(`signals: ${(await take(eventfd)) > 0n ? 'at least one' : 'none'}`);
  closeSync(eventfd);

  // With the generation of the lease a view ends, and there is another.
  await device.reset();
  try {
    ring.inspect();
  } catch (error) {
    console.log(`after a reset: ${error.code}`);
  }
  ring.close();
  const { generation } = await device.hardwareRing();
  console.log(`the next one is of the new generation: ${generation === device.generation}`);
} finally {
  await client.close();
}
