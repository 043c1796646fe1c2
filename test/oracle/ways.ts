/**
 * The two ways to a queue of an engine, each with an engine of its own that was made alike: what a session does with a `submit` message, from its bytes to the
 * bytes of the answer, and rings that a client has mapped. Both engines are stepped, so that the same requests meet the same moment.
 */
import { Packr, Unpackr } from 'msgpackr';
import { RawRing } from '../../src/cli/demo/mediated/raw-ring.js';
import { shm } from '../../src/native/shm.js';
import { COMPLETION_BYTES, COMPLETION_WORDS, ENTRY_WORDS, RING_HEADER_WORDS } from '../../src/protocol/index.js';
import type { Domain } from '../../src/server/domains/index.js';
import { QueueFiles } from '../../src/server/handover/index.js';
import type { Outlet } from '../../src/server/session/outlet.js';
import { SessionQueue } from '../../src/server/session/queue.js';
import type { StagingPool } from '../../src/server/session/staging-pool.js';
import { submit } from '../../src/server/session/submit.js';
import { decode, guardSubmit } from '../../src/server/wire/index.js';
import type { EngineWorld, TenantOptions } from '../support/engine-world.js';

/** Entries of each queue, and the most that are sent at once. */
export const ENTRIES = 256;
const DEADLINE_MS = 20_000;

/** A lease with a queue, and a way to it. */
export interface Way {
  readonly lease: number;
  readonly generation: number;
  readonly queue: number;
  /** Sends the first `count` entries at once, and waits for their completions, which are written to `into` in the order in which they came. */
  exchange(entries: Uint32Array, count: number, into: Uint32Array): void;
  end(): void;
}

/** Turns the engine until `done()`. */
function turnUntil(world: EngineWorld, done: () => boolean): void {
  for (let turns = 1, deadline = performance.now() + DEADLINE_MS; !done(); turns++) {
    world.engine.turn();
    if (turns % 1_000 === 0 && performance.now() > deadline) throw new Error('requests were not answered');
  }
}

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });
/** The flag inline is not sent, so nothing is ever placed in staging memory. */
const noStaging = { current: undefined, of: () => undefined } as unknown as StagingPool;
const domain: Pick<Domain, 'isStaging'> = { isStaging: () => false };

export function socketWay(world: EngineWorld, index: number, options: TenantOptions): Way {
  const { lease, generation } = world.openLease(index, options);
  const { queue, channel } = world.openQueue(lease, ENTRIES);
  let into: Uint32Array = new Uint32Array(0);
  let received = 0;
  const outlet: Pick<Outlet, 'choked' | 'send'> = {
    choked: false,
    send(bytes) {
      const { entries } = unpackr.unpack(bytes) as { entries: Uint8Array };
      new Uint8Array(into.buffer, received * COMPLETION_BYTES).set(entries);
      received += entries.length / COMPLETION_BYTES;
    },
  };
  const held = new SessionQueue(lease, queue, 1, channel, { outlet: outlet as Outlet, stagings: noStaging, onRoom: () => undefined }, 0);
  return {
    lease,
    generation,
    queue,
    exchange(entries, count, answers) {
      into = answers;
      received = 0;
      const bytes = Buffer.from(entries.buffer, entries.byteOffset, count * ENTRY_WORDS * 4);
      const message = guardSubmit(decode(packr.pack({ type: 'submit', lease, queue, entries: bytes })));
      const outcome = submit(held, domain as Domain, noStaging, message);
      if (outcome !== 'pushed') throw new Error(`a submit was not taken: ${outcome}`);
      turnUntil(world, () => {
        held.deliver();
        return received === count;
      });
    },
    end: () => world.run(world.methods.closeLease(lease)),
  };
}

export function ringWay(world: EngineWorld, index: number, options: TenantOptions): Way {
  const { lease, generation } = world.openLease(index, options);
  const { queue } = world.openQueue(lease, ENTRIES);
  const [ours, theirs] = shm().socketpair();
  const files = new QueueFiles(ENTRIES, false);
  world.run(world.methods.shareQueue(lease, queue, { requests: files.requests, completions: files.completions, doorbell: theirs }));
  const ring = RawRing.map(ENTRIES, files.requests, files.completions, ours);
  const requests = new Uint32Array(ring.requests.buffer);
  const completions = new Uint32Array(ring.completions.buffer);
  const slot = (at: number): number => at & (ENTRIES - 1);
  return {
    lease,
    generation,
    queue,
    exchange(entries, count, answers) {
      for (let index = 0; index < count; index++, ring.tail++)
        requests.set(entries.subarray(index * ENTRY_WORDS, (index + 1) * ENTRY_WORDS), RING_HEADER_WORDS + slot(ring.tail) * ENTRY_WORDS);
      ring.commit();
      turnUntil(world, () => ring.completed === ring.tail);
      for (let index = 0; index < count; index++, ring.head++) {
        const at = RING_HEADER_WORDS + slot(ring.head) * COMPLETION_WORDS;
        answers.set(completions.subarray(at, at + COMPLETION_WORDS), index * COMPLETION_WORDS);
      }
      ring.setHead(ring.head);
    },
    end() {
      world.run(world.methods.closeLease(lease));
      files.revoke(true);
      ring.end();
      shm().close(ours);
    },
  };
}
