// A tiny key-value store on a share: what is put there is there after the program, and after the server, was started again.
// One block for each key, found by its hash; the last 1024 blocks of the share are the table.
import { createHash } from 'node:crypto';
import { connect } from 'ringwarden/client';

const BLOCKS = 1024;
const MAGIC = Buffer.from('rw-kv-1\0');

class Store {
  #share;
  #first;

  constructor(share) {
    this.#share = share;
    this.#first = share.blocks - BLOCKS;
  }

  /** The value of a key, or undefined. */
  async get(key) {
    return (await this.#find(key)).record?.value;
  }

  /** Durable when it resolves. */
  async put(key, value) {
    const { lba } = await this.#find(key);
    const body = Buffer.from(JSON.stringify({ key, value }));
    const block = Buffer.alloc(this.#share.blockBytes);
    if (body.length > block.length - 44) throw new RangeError('the value is too long for a block');
    // magic, checksum and length of the body, body: a block that was torn or is of somebody else does not pass for a record.
    MAGIC.copy(block, 0);
    createHash('sha256').update(body).digest().copy(block, 8);
    block.writeUInt32LE(body.length, 40);
    body.copy(block, 44);
    await this.#share.writeBlocks(lba, block, { durable: true });
  }

  /** The block of a key: where it is, or the first free one of its row. */
  async #find(key) {
    const start = createHash('sha256').update(key).digest().readUInt32LE(0) % BLOCKS;
    for (let step = 0; step < BLOCKS; step++) {
      const lba = this.#first + ((start + step) % BLOCKS);
      const record = this.#parse(await this.#share.readBlocks(lba, 1));
      if (record === undefined || record.key === key) return { lba, record };
    }
    throw new RangeError('the store is full');
  }

  #parse(block) {
    if (!block.subarray(0, 8).equals(MAGIC)) return undefined;
    const body = block.subarray(44, 44 + Math.min(block.readUInt32LE(40), block.length - 44));
    const whole = createHash('sha256').update(body).digest().equals(block.subarray(8, 40));
    return whole ? JSON.parse(body.toString()) : undefined;
  }
}

const client = await connect({ tenant: 'alice' });
try {
  const device = await client.openDevice('nvme0');
  const store = new Store(device.share('data'));
  const runs = ((await store.get('runs')) ?? 0) + 1;
  await store.put('runs', runs);
  await store.put('last', { pid: process.pid, node: process.version });
  console.log(`this is run ${await store.get('runs')} of this store; the last one was by ${JSON.stringify(await store.get('last'))}`);
  console.log(`a key that was never put: ${await store.get('nothing')}`);
} finally {
  await client.close();
}
