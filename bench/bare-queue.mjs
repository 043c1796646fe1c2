/** A client that costs next to nothing: entries made beforehand, copied into a shared request ring; completions counted. What is slow beside it is the server. */
import { readLease, readQueue } from '../dist/client/answers.js';
import { endpointOf } from '../dist/client/endpoint.js';
import { Region } from '../dist/client/region.js';
import { Session } from '../dist/client/session.js';
import { shareMemory } from '../dist/client/shared-transport.js';
import { COMPLETION_WORDS, CompletionWord, ENTRY_HALVES, ENTRY_WORDS, EntryWord, Operation, copyEntry, packEntry } from '../dist/protocol/index.js';

const RING_ENTRIES = 1024;
const PREPARED = 4096;
const nobody = { completed() {}, event() {}, refused() {}, ended() {} };

export class BareQueue {
  #ring;
  /** The ring's memory, and the entries that are copied there, in halves. */
  #slots;
  #prepared = new BigUint64Array(PREPARED * ENTRY_HALVES);
  #taken = new BigUint64Array((RING_ENTRIES * COMPLETION_WORDS) / 2);
  #completions = new Uint32Array(this.#taken.buffer);
  /** When the request with a tag was due, by the tag modulo the length of the ring. */
  #due = new Float64Array(RING_ENTRIES);
  #next = 0;
  inFlight = 0;
  done = 0;

  /** A session of the tenant with one queue, and so many regions of so many bytes. Requests are reads of a block to a random place in a random region. */
  static async open(socket, tenant, { regions = 1, regionBytes = 65_536 } = {}) {
    const options = { timeoutMilliseconds: 30_000, keepaliveMilliseconds: 0, tenant, transport: 'shm', name: 'bench' };
    const session = await Session.open(endpointOf({ socket }), options);
    await session.domain();
    const lease = await session.calls.call('openDevice', { device: 'nvme0', mode: 'shared', queues: 'shared' }, (answer) => {
      const info = readLease(answer);
      session.own(info.lease, nobody);
      return info;
    });
    const queue = await session.calls.call('openQueue', { lease: lease.lease, entries: RING_ENTRIES }, readQueue);
    const handles = [];
    for (let count = 0; count < regions; count++) handles.push((await Region.allocate(session, regionBytes, {})).region);
    const { ring } = await shareMemory(session, lease, queue);
    return new BareQueue(ring, lease, queue, handles, regionBytes);
  }

  constructor(ring, lease, queue, regions, regionBytes) {
    const [share] = lease.shares;
    const { blockBytes } = share;
    this.#ring = ring;
    this.#slots = new BigUint64Array(ring.words.buffer);
    const words = new Uint32Array(this.#prepared.buffer);
    let state = 0x2545_f491;
    const below = (limit) => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return (state >>> 0) % limit;
    };
    for (let index = 0; index < PREPARED; index++) {
      packEntry(words, index * ENTRY_WORDS, {
        operation: Operation.read,
        flags: 0,
        share: 0,
        generation: lease.generation,
        tag: 0n,
        lba: BigInt(below(256)),
        blocks: 1,
        region: regions[below(regions.length)],
        offset: BigInt(below(regionBytes / blockBytes) * blockBytes),
        length: blockBytes,
        lease: lease.lease,
        queue: queue.queue,
      });
    }
  }

  /** Whether the ring has room for one more. */
  get hasRoom() {
    return this.inFlight < RING_ENTRIES;
  }

  /** Adds a request that is due at `due`; only while there is room. The server sees it after `commit`. */
  add(due) {
    const number = this.#next++;
    const at = this.#ring.next();
    copyEntry(this.#slots, at / 2, this.#prepared, (number % PREPARED) * ENTRY_HALVES);
    this.#ring.words[at + EntryWord.tagLow] = number;
    this.#due[number % RING_ENTRIES] = due;
    this.inFlight++;
  }

  commit() {
    this.#ring.commit();
  }

  /** Keeps `depth` requests in flight. */
  fill(depth) {
    if (this.inFlight >= depth) return;
    while (this.inFlight < depth) this.add(0);
    this.commit();
  }

  /** Takes completions; tells `ended`, if given, when each of them was due. Throws when a request failed. Returns how many. */
  take(ended) {
    if (this.inFlight === 0 || !this.#ring.ready) return 0;
    const words = this.#completions;
    const count = this.#ring.take(this.#taken, this.inFlight);
    if (count < 0) throw new Error('the ring was taken back');
    for (let at = 0; at < count * COMPLETION_WORDS; at += COMPLETION_WORDS) {
      const code = words[at + CompletionWord.code] & 0xffff;
      if (code !== 0) throw new Error(`a request ended with code ${code}`);
      ended?.(this.#due[words[at + CompletionWord.tagLow] % RING_ENTRIES]);
    }
    this.inFlight -= count;
    this.done += count;
    return count;
  }
}
