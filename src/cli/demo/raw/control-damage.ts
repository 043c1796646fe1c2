/** The raw halves of the attacks on rings, registers, interrupts and other devices. */
import type { QueuePair } from '../../../hw/nvme/index.js';
import {
  AdminOpcode,
  COMPLETION_BYTES,
  COMPLETION_WORDS,
  Cqe,
  DOORBELLS,
  NvmOpcode,
  SUBMISSION_WORDS,
  Sqe,
  submissionDoorbell,
} from '../../../hw/nvme/spec/index.js';
import { BAR_MEMORY_MASK, barRegister } from '../../../hw/pci/index.js';
import type { RawOutcome } from '../types.js';
import { QUEUE_ENTRIES as ENTRIES, blockCommand } from './controller.js';
import { BLOCKS_PER_PAGE, OwnBlock, POISON, msixEntry, watch } from './moves.js';
import { type RawWorld, VICTIM_LBA } from './world.js';

/** A bus address at which nothing is, on either backing. */
const NOWHERE = 0x7f_0000_0000;
const TWO_TO_32 = 2 ** 32;
const CC_OFFSET = 0x14;

/** Aims the attacker's own interrupt message at the victim's memory: the device writes it there. */
export async function aimInterrupt(world: RawWorld): Promise<RawOutcome> {
  const entry = await msixEntry(world, world.pair.vector);
  const before = await entry.read();
  entry.aim(world.victim.address(64), 0x0bad_cafe);
  await world.controller.answers(world.pair, 300);
  const outcome = await watch(world, () => world.corrupted());
  entry.aim(before.address, before.data);
  return outcome;
}

/** DMA to where interrupt messages go: the victim is told of a completion that never was. */
export async function forgeInterrupt(world: RawWorld): Promise<RawOutcome> {
  const vector = world.victimPair.vector;
  const { address, data } = await (await msixEntry(world, vector)).read();
  const page = world.ownPage();
  page.bytes.writeUInt32LE(data, 0);
  await world.io(NvmOpcode.write, OwnBlock.message, 1, page.address);
  world.backing.poll();
  const before = world.backing.interrupts.fired[vector];
  await world.io(NvmOpcode.read, OwnBlock.message, 1, address);
  return watch(world, () => (world.backing.interrupts.fired[vector] === before ? 'none' : 'corrupted'));
}

/**
 * DMA to registers: zeroes over the controller configuration, which disables the controller for everybody. QEMU's model takes no DMA to its own
 * registers (since CVE-2021-3929); hardware does.
 */
export async function writeRegistersByDma(world: RawWorld): Promise<RawOutcome> {
  const { controller, backing } = world;
  const low = await controller.run(backing.config.read32(barRegister(0)));
  const high = await controller.run(backing.config.read32(barRegister(1)));
  const address = high * TWO_TO_32 + ((low & BAR_MEMORY_MASK) >>> 0);
  await world.io(NvmOpcode.write, OwnBlock.message, 1, world.ownPage().address);
  controller.write(world.pair, blockCommand(NvmOpcode.read, 1, OwnBlock.message, 1, address + CC_OFFSET));
  world.pair.ring();
  const outcome = await world.stalled();
  return outcome === 'none' && backing.kind === 'qemu' ? 'not-applicable' : outcome;
}

/** A completion queue of its own in the victim's memory: the device writes completions there. */
export async function queueInOthersMemory(world: RawWorld): Promise<RawOutcome> {
  const { controller, own, victim } = world;
  const id = 3;
  const ring = own.takeSlice(1);
  const cdw10 = ((ENTRIES - 1) << 16) | id;
  await controller.execute(controller.admin, { opcode: AdminOpcode.createCompletionQueue, cdw10, cdw11: 1, prp1: victim.address(0) });
  const submission = { opcode: AdminOpcode.createSubmissionQueue, cdw10, cdw11: 1 | (id << 16), prp1: own.address(ring.offset) };
  await controller.execute(controller.admin, submission);
  ring.u32[0] = NvmOpcode.flush;
  ring.u32[Sqe.nsid] = 1;
  controller.bar.write32(submissionDoorbell(id, controller.stride), 1);
  return watch(world, () => world.corrupted());
}

/** An administrative command: the victim's queue is deleted under it. */
export async function deleteOthersQueue(world: RawWorld): Promise<RawOutcome> {
  const { controller, victimPair } = world;
  await controller.execute(controller.admin, { opcode: AdminOpcode.deleteSubmissionQueue, cdw10: victimPair.id });
  return world.stalled();
}

/** Rings the victim's doorbell: the device runs through what is left in the victim's ring, and the victim can make nothing of it. */
export async function ringOthersDoorbell(world: RawWorld): Promise<RawOutcome> {
  const { controller, victimPair } = world;
  await controller.answers(victimPair, 300);
  // As far as a tail can move: to the entry before the victim's own.
  controller.bar.write32(submissionDoorbell(victimPair.id, controller.stride), (controller.tail(victimPair) + ENTRIES - 1) % ENTRIES);
  await watch(world, () => (victimPair.pending() ? 'stalled' : 'none'));
  return world.stalled();
}

/** Turns the controller off and on again: everybody's queues are gone. */
export async function resetController(world: RawWorld): Promise<RawOutcome> {
  await world.controller.disable();
  return world.stalled();
}

/** Admin queues at an address where nothing is. */
export async function pointQueuesNowhere(world: RawWorld): Promise<RawOutcome> {
  const { controller } = world;
  await controller.disable();
  await controller.enable(NOWHERE, NOWHERE);
  controller.bar.write32(DOORBELLS, 1);
  return watch(world, () => world.crashed());
}

/** A tail that is further than what was written: the device executes whatever lies in the ring. */
export async function ringBeyond(world: RawWorld): Promise<RawOutcome> {
  const { controller, pair } = world;
  const page = world.ownPage(POISON);
  litter(pair, page.address);
  controller.bar.write32(submissionDoorbell(pair.id, controller.stride), (controller.tail(pair) + 2) % ENTRIES);
  return watch(world, () => world.corrupted());
}

/** A command that was carried out runs again, because the tail was moved round the ring; its blocks are another's by now. */
export async function replayCommand(world: RawWorld): Promise<RawOutcome> {
  const { controller, pair } = world;
  await world.io(NvmOpcode.write, VICTIM_LBA, BLOCKS_PER_PAGE, world.ownPage(POISON).address);
  const behind = controller.tail(pair);
  await controller.answers(pair, 300);
  // The blocks change hands: what they hold now is the victim's.
  world.restore();
  controller.bar.write32(submissionDoorbell(pair.id, controller.stride), behind);
  return watch(world, () => world.corrupted());
}

/** A command from before a reset runs after it: the ring is where it was, and the device knows no generations. */
export async function outliveReset(world: RawWorld): Promise<RawOutcome> {
  const { controller, pair, own } = world;
  await world.io(NvmOpcode.write, VICTIM_LBA, BLOCKS_PER_PAGE, world.ownPage(POISON).address);
  const behind = controller.tail(pair);
  await controller.disable();
  world.restore();
  await controller.reopen();
  await controller.createQueues(pair.id, own.address(pair.memory.submission.offset), own.address(pair.memory.completion.offset));
  controller.bar.write32(submissionDoorbell(pair.id, controller.stride), behind);
  return watch(world, () => world.corrupted());
}

/** Writes a completion into the victim's queue: a command that the device never saw looks as if it had been done. */
export async function forgeCompletion(world: RawWorld): Promise<RawOutcome> {
  const { controller, victimPair, victim } = world;
  const ring = victimPair.memory.completion;
  const slot = controller.write(victimPair, { opcode: NvmOpcode.flush, namespace: 1 });
  const phaseOf = (entry: number): number => (ring.u32[entry * COMPLETION_WORDS + Cqe.status] >>> 16) & 1;
  let head = 0;
  while (head < ENTRIES && phaseOf(head) === phaseOf(0)) head++;
  const isFirstLap = phaseOf(0) === 0;
  const entry = isFirstLap || head === ENTRIES ? 0 : head;
  const page = world.ownPage();
  page.bytes.writeUInt32LE(victimPair.id << 16, Cqe.queue * 4);
  page.bytes.writeUInt32LE(victimPair.commandId(slot) | ((1 - phaseOf(entry)) << 16), Cqe.status * 4);
  await world.io(NvmOpcode.write, OwnBlock.message, 1, page.address);
  await world.io(NvmOpcode.read, OwnBlock.message, 1, victim.address(ring.offset + entry * COMPLETION_BYTES));
  return (await controller.finish(victimPair, slot, 300)) === 0 ? 'corrupted' : 'none';
}

/** Puts descriptors into a ring without submitting them: what an earlier user of the memory may have left there. */
function litter(pair: QueuePair, address: number): void {
  for (let entry = 0; entry < ENTRIES; entry++) {
    const words = pair.words.subarray(entry * SUBMISSION_WORDS, (entry + 1) * SUBMISSION_WORDS).fill(0);
    words[0] = NvmOpcode.write | (entry << 16);
    words[Sqe.nsid] = 1;
    words[Sqe.prp1Low] = address % TWO_TO_32;
    words[Sqe.prp1High] = address / TWO_TO_32;
    words[Sqe.cdw10] = VICTIM_LBA;
    words[Sqe.cdw12] = BLOCKS_PER_PAGE - 1;
  }
}
