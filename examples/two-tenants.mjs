// Two tenants on one controller: each has blocks of its own, counted from 0, and neither can name a block or memory of the other.
import { connect, RefusedError } from 'ringwarden/client';

const alice = await connect({ tenant: 'alice' });
const bob = await connect({ tenant: 'bob' });
try {
  const ofAlice = (await alice.openDevice('nvme0')).share('data');
  const ofBob = (await bob.openDevice('nvme0')).share('data');

  // Both write their block 7, at the same time. Where on the device that is, only the server knows.
  await Promise.all([
    ofAlice.writeBlocks(7, Buffer.alloc(ofAlice.blockBytes, 'Alice was here. ')),
    ofBob.writeBlocks(7, Buffer.alloc(ofBob.blockBytes, 'Bob was here. ')),
  ]);
  console.log(`block 7 of Alice: ${(await ofAlice.readBlocks(7, 1)).toString('utf8', 0, 15)}`);
  console.log(`block 7 of Bob:   ${(await ofBob.readBlocks(7, 1)).toString('utf8', 0, 13)}`);

  // Bob puts a secret into memory that the device can reach. Alice names that memory in a request of hers: the server refuses.
  const region = await bob.allocate(ofBob.blockBytes);
  await region.write(0, Buffer.from('a secret of Bob'));
  try {
    await ofAlice.writeFrom(region, 0, 0, ofAlice.blockBytes);
    throw new Error('Alice reached the memory of Bob');
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    console.log(`Alice naming the memory of Bob: refused, ${error.code}`);
  }
} finally {
  await Promise.all([alice.close(), bob.close()]);
}
