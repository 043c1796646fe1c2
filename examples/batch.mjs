// Many requests in one message, one await, and a result for each: the fastest way to do many small things.
import { connect } from 'ringwarden/client';

const client = await connect({ tenant: 'alice' });
try {
  const device = await client.openDevice('nvme0');
  const share = device.share('data');

  // Requests of one batch may be done in any order, so what depends on the writes comes in a second batch.
  const writes = share.batch();
  for (let lba = 0; lba < 32; lba++) writes.writeBlocks(lba, Buffer.alloc(share.blockBytes, lba));
  await writes.submit(); // rejects with the first error, once all of them ended

  const checks = share.batch();
  const reads = Array.from({ length: 32 }, (_, lba) => checks.readBlocks(lba, 1));
  const same = checks.compareBlocks(5, Buffer.alloc(share.blockBytes, 5));
  const differs = checks.compareBlocks(6, Buffer.alloc(share.blockBytes, 99));
  await checks.submit();
  const right = reads.filter(({ value }, lba) => value.every((byte) => byte === lba)).length;
  console.log(`${checks.length} requests in one batch: ${right} of 32 blocks read back as written`);
  console.log(`block 5 compared with itself: ${same.value}, block 6 with something else: ${differs.value}`);

  // `settle` is for batches in which some may fail: every entry has a value or an error.
  const mixed = share.batch();
  mixed.writeZeroBlocks(0, 32);
  const region = await client.allocate(share.blockBytes);
  const late = mixed.readInto(region, 0, 0, share.blockBytes);
  await region.unmap(); // the request below names memory that is gone by the time it is sent
  await mixed.settle();
  console.log(`a request with unmapped memory: ${late.error?.code ?? 'done'}; the others of its batch were done`);
} finally {
  await client.close();
}
