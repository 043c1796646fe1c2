/** Attacks through configuration space, registers and ROM of the PCI function. What is accepted must stay in the attacker's own view. */
import { CONFIG_BYTES, CapabilityId, DEVCTL_FLR, Header, MSIX_BIR_MASK, Msix, PciExpress, barRegister } from '../../../hw/pci/index.js';
import type { Foothold } from '../mediated/foothold.js';
import type { MediatedWorld } from '../mediated/world.js';
import { aimInterrupt } from '../raw/control-damage.js';
import { decodeRom, moveRegisters, resetFunction, stopBusMaster } from '../raw/config-damage.js';
import { type Attack, type Reply, harmless, notApplicable, refused } from '../types.js';

/** Registers with what only the server may know or touch: queue addresses, a doorbell. */
const ADMIN_QUEUE_ADDRESS = 0x28;
const DOORBELL = 0x1000;

export const pciAttacks: readonly Attack[] = [
  {
    id: 'config-bars',
    title: 'registers of the controller moved elsewhere',
    requirement: 'R25',
    expected: { raw: { emulated: 'not-applicable', qemu: 'stalled' }, mediated: [harmless] },
    raw: moveRegisters,
    mediated: (world) => writeConfig(world, [barRegister(0), 4, 0xfee0_0000], [barRegister(1), 4, 0], [barRegister(4), 4, 0xc000_0000]),
  },
  {
    id: 'config-command',
    title: 'controller taken off the bus',
    requirement: 'R25',
    expected: { raw: 'stalled', mediated: [harmless] },
    raw: stopBusMaster,
    mediated: (world) => writeConfig(world, [Header.command, 2, 0]),
  },
  {
    id: 'config-reset',
    title: 'function-level reset for everybody',
    requirement: 'R21',
    expected: { raw: 'stalled', mediated: [harmless] },
    raw: resetFunction,
    mediated: async (world) => {
      const foothold = await world.foothold();
      const express = await capability(foothold, CapabilityId.pciExpress);
      return write(foothold, express + PciExpress.deviceControl, 2, DEVCTL_FLR);
    },
  },
  {
    id: 'config-everything',
    title: 'all of configuration space overwritten',
    requirement: 'R25',
    expected: { raw: 'stalled', mediated: [harmless] },
    raw: resetFunction,
    mediated: (world) =>
      writeConfig(
        world,
        ...[0, 0xffff_ffff].flatMap((value) => Array.from({ length: CONFIG_BYTES / 4 }, (_, word) => [4 * word, 4, value] as const)),
      ),
  },
  {
    id: 'config-others',
    title: "configuration space of somebody else's lease",
    requirement: 'R25',
    expected: { raw: 'stalled', mediated: [refused('unknownLease')] },
    raw: stopBusMaster,
    mediated: async (world) => {
      const { attacker } = await world.foothold();
      return (await attacker.ask('writePciConfig', { lease: world.bob.device.lease, offset: 4, width: 2, value: 0 })).reply;
    },
  },
  {
    id: 'rom-decode',
    title: 'ROM decoded over the registers',
    requirement: 'R19',
    expected: { raw: { emulated: 'stalled', qemu: 'not-applicable' }, mediated: [refused('noRom')] },
    raw: decodeRom,
    mediated: async (world) => {
      const foothold = await world.foothold();
      await write(foothold, Header.expansionRom, 4, 0xffff_ffff);
      return (await foothold.attacker.ask('readPciRom', { lease: foothold.lease, offset: 0, length: 512 })).reply;
    },
  },
  {
    id: 'msix-table',
    title: 'table of interrupt messages, through its region',
    requirement: 'R31',
    expected: { raw: 'corrupted', mediated: [refused('notReadable')] },
    raw: aimInterrupt,
    mediated: async (world) => {
      const foothold = await world.foothold();
      const table = await read(foothold, (await capability(foothold, CapabilityId.msix)) + Msix.table);
      return register(foothold, table & MSIX_BIR_MASK, (table & ~MSIX_BIR_MASK) >>> 0);
    },
  },
  {
    id: 'other-registers',
    title: 'registers with bus addresses, and doorbells',
    requirement: 'R32',
    expected: { raw: 'not-applicable', mediated: [refused('notReadable')] },
    raw: notApplicable('whoever has the registers reads them all'),
    mediated: async (world) => {
      const foothold = await world.foothold();
      const replies = [await register(foothold, 0, ADMIN_QUEUE_ADDRESS), await register(foothold, 0, DOORBELL), await register(foothold, 0, 2 ** 40)];
      return replies.find(({ code }) => code !== 'notReadable') ?? replies[0];
    },
  },
];

type Write = readonly [offset: number, width: number, value: number];

/** All of them, until one is not accepted. */
async function writeConfig(world: MediatedWorld, ...writes: readonly Write[]): Promise<Reply> {
  const foothold = await world.foothold();
  for (const [offset, width, value] of writes) {
    const reply = await write(foothold, offset, width, value);
    if (reply.outcome !== 'harmless') return reply;
  }
  return harmless;
}

async function write({ attacker, lease }: Foothold, offset: number, width: number, value: number): Promise<Reply> {
  return (await attacker.ask('writePciConfig', { lease, offset, width, value })).reply;
}

async function read({ attacker, lease }: Foothold, offset: number, width = 4): Promise<number> {
  return Number((await attacker.must('readPciConfig', { lease, offset, width }))['value']);
}

async function register({ attacker, lease }: Foothold, bar: number, offset: number): Promise<Reply> {
  return (await attacker.ask('readPciRegister', { lease, bar, offset, width: 4 })).reply;
}

/** Offset of a capability. */
async function capability(foothold: Foothold, id: number): Promise<number> {
  let at = await read(foothold, Header.capabilities, 1);
  while (at !== 0 && (await read(foothold, at, 1)) !== id) at = await read(foothold, at + 1, 1);
  if (at === 0) throw new Error(`the function shows no capability 0x${id.toString(16)}`);
  return at;
}
