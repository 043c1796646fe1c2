/** `ringwarden show --pci`: the PCI function behind a device, as a lease of the tenant may see it, in the manner of lspci. */
import type { AccessWidth, Client, PciFunction, PciRegionInfo } from '../client/index.js';
import { CapabilityId, ClassCode, Header, MSIX_BIR_MASK, Msix, MsixControl, PciExpress } from '../hw/pci/index.js';
import { formatSize } from '../server/text.js';
import { facts } from './output.js';
import type { Cell } from './output.js';

const CLASSES: Readonly<Record<number, string>> = { [ClassCode.nvme]: 'NVMe controller', [ClassCode.ethernet]: 'Ethernet controller' };
/** Link speeds by their number (PCI Express Base 5.0, 7.5.3.6), GT/s. */
const SPEEDS = ['', '2.5', '5', '8', '16', '32', '64'];

interface RegisterValue {
  readonly name: string;
  readonly bar: number;
  readonly offset: number;
  readonly value: number;
}

interface CapabilityText {
  readonly offset: number;
  readonly id: number;
  readonly text: string;
}

export interface PciReport {
  readonly device: string;
  readonly vendor: number;
  readonly id: number;
  readonly class: number;
  readonly revision: number;
  readonly subsystem: readonly [vendor: number, id: number];
  readonly regions: readonly PciRegionInfo[];
  readonly capabilities: readonly CapabilityText[];
  readonly registers: readonly RegisterValue[];
}

/** Opens the device beside others, looks, and gives it back. */
export async function readPci(client: Client, name: string): Promise<PciReport> {
  const device = await client.openDevice(name);
  try {
    const { pci } = device;
    const read = (offset: number, width: AccessWidth = 2): Promise<number> => pci.readConfig(offset, width);
    const revision = await read(Header.revisionId, 4);
    const regions = await pci.regions();
    return {
      device: name,
      vendor: await read(Header.vendorId),
      id: await read(Header.deviceId),
      class: revision >>> 8,
      revision: revision & 0xff,
      subsystem: [await read(Header.subsystemVendorId), await read(Header.subsystemId)],
      regions,
      capabilities: await readCapabilities(pci),
      registers: await readRegisters(pci, regions),
    };
  } finally {
    await device.close();
  }
}

async function readRegisters(pci: PciFunction, regions: readonly PciRegionInfo[]): Promise<RegisterValue[]> {
  const values: RegisterValue[] = [];
  for (const { index: bar, readable } of regions) {
    for (const { name, offset, bytes, width } of readable) {
      for (let at = offset; at < offset + bytes; at += width) values.push({ name, bar, offset: at, value: await pci.readRegister(bar, at, width) });
    }
  }
  return values;
}

async function readCapabilities(pci: PciFunction): Promise<CapabilityText[]> {
  const found: CapabilityText[] = [];
  for (let offset = await pci.readConfig(Header.capabilities, 1); offset !== 0; offset = await pci.readConfig(offset + 1, 1)) {
    const id = await pci.readConfig(offset, 1);
    found.push({ offset, id, text: await describe(pci, id, offset) });
  }
  return found;
}

async function describe(pci: PciFunction, id: number, offset: number): Promise<string> {
  switch (id) {
    case CapabilityId.powerManagement:
      return 'power management';
    case CapabilityId.msi:
      return 'MSI';
    case CapabilityId.msix: {
      const vectors = ((await pci.readConfig(offset + Msix.control, 2)) & MsixControl.sizeMask) + 1;
      const [table, pending] = [await pci.readConfig(offset + Msix.table, 4), await pci.readConfig(offset + Msix.pendingBits, 4)];
      return `MSI-X: ${vectors} vectors, table in ${place(table)}, pending bits in ${place(pending)}`;
    }
    case CapabilityId.pciExpress: {
      const link = await pci.readConfig(offset + PciExpress.linkStatus, 2);
      const version = (await pci.readConfig(offset + PciExpress.capabilities, 2)) & 0xf;
      return `PCI Express, version ${version}: link ${SPEEDS[link & 0xf] ?? '?'} GT/s, ${(link >>> 4) & 0x3f} lanes`;
    }
    default:
      return 'unknown';
  }
}

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');
const place = (register: number): string => `BAR${register & MSIX_BIR_MASK} at 0x${((register & ~MSIX_BIR_MASK) >>> 0).toString(16)}`;

/** The report for people. */
export function showPci(report: PciReport): string {
  const name = CLASSES[report.class];
  const head: (readonly [string, Cell])[] = [
    ['device', report.device],
    ['function', `${hex(report.vendor, 4)}:${hex(report.id, 4)}, revision ${hex(report.revision, 2)}`],
    ['class', `${hex(report.class, 6)}${name === undefined ? '' : ` (${name})`}`],
    ['subsystem', report.subsystem.map((part) => hex(part, 4)).join(':')],
  ];
  const regions = report.regions.map((region): readonly [string, Cell] => [region.name, regionText(region)]);
  const capabilities = report.capabilities.map(({ offset, text }): readonly [string, Cell] => [`[${hex(offset, 2)}]`, text]);
  const registers = report.registers.map(({ name: register, bar, offset, value }): readonly [string, Cell] => {
    return [register, `0x${hex(value, 8)} (BAR${bar} at 0x${offset.toString(16)})`];
  });
  return [head, regions, capabilities, registers]
    .filter((part) => part.length > 0)
    .map(facts)
    .join('\n\n');
}

function regionText({ kind, bytes, is64, prefetchable, readable }: PciRegionInfo): string {
  const words = [kind === 'io' ? 'ports' : kind, formatSize(bytes)];
  if (kind === 'memory') words.push(is64 ? '64-bit' : '32-bit', prefetchable ? 'prefetchable' : 'not prefetchable');
  if (kind !== 'rom') words.push(readable.length === 0 ? 'not readable' : `readable: ${readable.map(({ name }) => name).join(' ')}`);
  return words.join(', ');
}
