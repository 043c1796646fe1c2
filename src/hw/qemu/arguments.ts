/** The command line: a machine with one device, in which nothing runs (docs: QEMU, "qtest protocol"). */
import { DOORBELL_SLOT, MACHINE_MEMORY_BYTES, MEMORY_BYTES, MEMORY_SLOTS, DEVICE_SLOT } from './address-map.js';
import { MAX_VECTORS, drivesOf, holdsData, type QemuDrive, type QemuOptions } from './options.js';

/** Descriptors that QEMU inherits, by number. Images follow, one for each drive that holds data, then the expansion ROM where there is one. */
export const Inherited = { qtest: 3, qmp: 4, firmware: 5, doorbell: 6, firstImage: 7 } as const;

/** What is left out of the machine: everything that could raise an interrupt, own an address or take time. */
const MACHINE = 'q35,smm=off,hpet=off,vmport=off,usb=off,sata=off,smbus=off,pit=off,i8042=off,acpi=on';
const SANDBOX = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny';

/** Bits of an address that edu's DMA reaches: all that the machine has. 28 of them, its default, do not reach the memory of the server. */
const EDU_DMA_MASK = 2 ** 48 - 1;

/** The vectors that the doorbell device offers: as many as the device can raise, of which edu has one (MSI). */
export function usableVectors(options: QemuOptions): number {
  return options.model === 'edu' ? 1 : Math.min(options.vectors, MAX_VECTORS);
}

export function qemuArguments(options: QemuOptions): string[] {
  const memory = `size=${MACHINE_MEMORY_BYTES / 1024}k,slots=${MEMORY_SLOTS},maxmem=${MEMORY_BYTES / 1024}k`;
  const doorbell = { driver: 'ivshmem-doorbell', addr: hex(DOORBELL_SLOT), chardev: 'doorbell', vectors: usableVectors(options), ioeventfd: false };
  const rom = options.rom === undefined ? {} : { romfile: `/proc/self/fd/${Inherited.firstImage + drivesOf(options).filter(holdsData).length}` };
  const args = ['-machine', MACHINE, '-accel', 'tcg', '-smp', '1', '-m', memory, '-bios', `/proc/self/fd/${Inherited.firmware}`];
  args.push('-display', 'none', '-nodefaults', '-no-user-config', '-no-shutdown', '-sandbox', SANDBOX);
  args.push('-chardev', `socket,id=qtest,fd=${Inherited.qtest}`, '-object', 'qtest,id=qtest0,chardev=qtest,log=none');
  args.push('-chardev', `socket,id=qmp,fd=${Inherited.qmp}`, '-mon', 'chardev=qmp,mode=control');
  args.push(
    '-chardev',
    `socket,id=doorbell,fd=${Inherited.doorbell}`,
    ...device(doorbell),
    ...device({ ...served(options), addr: hex(DEVICE_SLOT), ...rom }),
  );
  let image: number = Inherited.firstImage;
  drivesOf(options).forEach((drive, index) => {
    const node = `drive${index}`;
    if (holdsData(drive)) args.push('-add-fd', `fd=${image++},set=${index}`);
    args.push('-blockdev', JSON.stringify(blockNode(drive, index, node)));
    const blocks = { logical_block_size: drive.blockBytes, physical_block_size: drive.blockBytes };
    args.push(...device({ driver: 'nvme-ns', bus: 'nvme', nsid: index + 1, drive: node, ...blocks }));
  });
  return args;
}

/** The device that is served. */
function served(options: QemuOptions): Properties {
  if (options.model === 'edu') return { driver: 'edu', id: 'edu', dma_mask: EDU_DMA_MASK };
  const { mdts, queuePairs, vectors, serial } = options;
  return { driver: 'nvme', id: 'nvme', serial, mdts, max_ioqpairs: queuePairs, msix_qsize: vectors };
}

function blockNode(drive: QemuDrive, set: number, name: string): object {
  if (drive.errors !== undefined) {
    const errors = drive.errors.map(({ on, ...error }) => ({ event: 'none', iotype: on, ...error }));
    return { driver: 'blkdebug', 'node-name': name, image: plainNode(drive, set), 'inject-error': errors, discard: 'unmap' };
  }
  return { 'node-name': name, ...plainNode(drive, set) };
}

function plainNode(drive: QemuDrive, set: number): object {
  if (!holdsData(drive)) return { driver: 'null-co', size: drive.bytes, 'read-zeroes': true, 'latency-ns': drive.latencyNanoseconds ?? 0 };
  // The set holds a descriptor that the server opened and locked; QEMU's own locks come on top.
  const file = { driver: 'file', filename: `/dev/fdset/${set}`, locking: 'on', discard: 'unmap' };
  return { driver: 'raw', size: drive.bytes, discard: 'unmap', file };
}

type Properties = Readonly<Record<string, string | number | boolean>>;

function device(properties: Properties): string[] {
  return ['-device', JSON.stringify(properties)];
}

function hex(slot: number): string {
  return slot.toString(16);
}
