/** The guest's hardware, as QEMU's command line. */
import { DEVICES, DISK_BYTES } from './devices.mjs';

const MEMORY_MIB = 2048;
const HUGE_PAGES = 128;

const { nvme, edu, slot } = DEVICES;

/** '0000:00:10.0' as QEMU writes it: '10.0'. */
const slotOf = (address) => address.slice(-4);

const DISKS = ['nvme', 'slot'];

/** Images of the controllers' disks, by node name. */
export const disksIn = (folder) => DISKS.map((name) => ({ name, file: `${folder}/${name}.image`, bytes: DISK_BYTES }));

/**
 * @param hasIommu with Intel's IOMMU. Its interrupt remapping is off: without KVM, QEMU has none to offer.
 * @param paths `vmlinux`, `initramfs`, `share` (the folder that the guest writes to), `console` (file), `rom` (of the NVMe controller), `disks`
 * @returns arguments; QMP is on descriptor 3
 */
export function qemuArguments({ hasIommu, vmlinux, initramfs, share, console, rom, disks }) {
  const half = `${MEMORY_MIB / 2}M`;
  const kernelLine = ['console=ttyS0', 'quiet', 'panic=-1', 'oops=panic', `hugepages=${HUGE_PAGES}`, ...(hasIommu ? ['intel_iommu=on'] : [])];
  return [
    ['-accel', 'tcg,thread=multi'],
    // The newest instructions: Node takes twice as long to start on the default processor.
    ['-machine', 'q35', '-cpu', 'max', '-smp', '2'],
    // Two nodes of memory, so that pages can be asked to migrate.
    ['-m', `${MEMORY_MIB}M`],
    ...[0, 1].map((node) => [
      '-object',
      `memory-backend-ram,id=memory${node},size=${half}`,
      '-numa',
      `node,nodeid=${node},cpus=${node},memdev=memory${node}`,
    ]),
    ['-display', 'none', '-nodefaults', '-no-user-config', '-no-reboot'],
    ['-kernel', vmlinux, '-initrd', initramfs, '-append', kernelLine.join(' ')],
    ['-chardev', `file,id=console,path=${escaped(console)}`, '-serial', 'chardev:console'],
    ['-chardev', 'socket,id=qmp,fd=3', '-mon', 'chardev=qmp,mode=control'],
    ['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04'],
    ...(hasIommu ? [['-device', 'intel-iommu,intremap=off']] : []),
    ['-fsdev', 'local,id=machine,path=/,security_model=none,readonly=on,multidevs=remap', '-device', 'virtio-9p-pci,fsdev=machine,mount_tag=machine'],
    ['-fsdev', `local,id=share,path=${escaped(share)},security_model=none`, '-device', 'virtio-9p-pci,fsdev=share,mount_tag=share'],
    ...disks.map(({ name, file }) => [
      '-blockdev',
      JSON.stringify({ driver: 'raw', 'node-name': name, file: { driver: 'file', filename: file, cache: CACHE } }),
    ]),
    ['-device', `nvme,id=nvme,addr=${slotOf(nvme)},drive=nvme,serial=guest,romfile=${escaped(rom)}`],
    ['-device', `edu,id=edu,addr=${slotOf(edu)}`],
    // Hot-plug as PCI Express has it, in the port, not ACPI's.
    ['-global', 'ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off'],
    ['-device', `pcie-root-port,id=slotport,addr=${slotOf(slot.port)},chassis=1,slot=1`],
    ['-device', JSON.stringify(slot.device)],
  ].flat();
}

const CACHE = { direct: false, 'no-flush': true };

/** In QEMU's comma-separated options a comma is written twice. */
const escaped = (path) => path.replaceAll(',', ',,');
