/** Where things are in the machine that QEMU plays (q35): chosen here, nowhere else. Bus addresses and ports in bytes. */

/** Enhanced configuration space: one MiB a bus. */
export const ECAM_BASE = 0xb000_0000;
/** PCIEXBAR of the q35 host bridge: its own configuration register that places and enables the ECAM (Intel 4 Series, 5.1.16). */
export const PCIEXBAR = 0x60;
export const PCIEXBAR_ENABLE = 0x1;
/** Configuration mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2): the only way to the register above. */
export const CONFIG_ADDRESS_PORT = 0xcf8;
export const CONFIG_DATA_PORT = 0xcfc;
export const CONFIG_ADDRESS_ENABLE = 0x8000_0000;

/** Memory BARs, up to the I/O APIC at 0xfec00000. */
export const BAR_MEMORY = { start: 0xc000_0000, end: 0xfe00_0000 } as const;
/** I/O BARs: above the ports of the chipset. */
export const BAR_PORTS = { start: 0x4000, end: 0x1_0000 } as const;

/** Slots on bus 0. */
export const DEVICE_SLOT = 4;
export const DOORBELL_SLOT = 5;

/** Hot-plugged memory (pc-dimm). QEMU offers 256 slots at most; the addresses begin above 4 GiB, as the machine's own memory ends below. */
export const MEMORY_SLOTS = 256;
export const MEMORY_BASE = 0x1_0000_0000;
export const MEMORY_BYTES = 256 * 2 ** 30;

/** Memory of the machine itself. Nothing uses it. */
export const MACHINE_MEMORY_BYTES = 2 * 2 ** 20;

/** ACPI memory hot-plug registers of the chipset (QEMU, docs/specs/acpi_mem_hotplug.rst). */
export const MEMORY_HOTPLUG_SELECT_PORT = 0xa00;
export const MEMORY_HOTPLUG_CONTROL_PORT = 0xa14;
export const MEMORY_HOTPLUG_EJECT = 0x08;
