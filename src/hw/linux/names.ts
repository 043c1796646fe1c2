/** What vendors and classes are called: from pci.ids where the machine has it (Debian: package "pci.ids"), else a few classes by heart. */
import { readFileSync } from 'node:fs';
import type { PciFunction } from './functions.js';

const FILES = ['/usr/share/misc/pci.ids', '/usr/share/hwdata/pci.ids'];

/** Subclasses (PCI Code and ID Assignment Specification 1.11, 1), by class and subclass. */
const CLASSES: Readonly<Record<string, string>> = {
  '0101': 'IDE interface',
  '0104': 'RAID bus controller',
  '0106': 'SATA controller',
  '0107': 'Serial Attached SCSI controller',
  '0108': 'Non-Volatile memory controller',
  '0180': 'Mass storage controller',
  '0200': 'Ethernet controller',
  '0280': 'Network controller',
  '0300': 'VGA compatible controller',
  '0403': 'Audio device',
  '0600': 'Host bridge',
  '0601': 'ISA bridge',
  '0604': 'PCI bridge',
  '0c03': 'USB controller',
  '0c05': 'SMBus',
};

export const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');

export class PciNames {
  readonly #names = new Map<string, string>();

  /** Reads `file`, or `$PCI_IDS_PATH`, or the first of the usual ones that is there. */
  constructor(file = process.env['PCI_IDS_PATH']) {
    for (const path of file === undefined ? FILES : [file]) if (this.#read(path)) return;
  }

  /** `Non-Volatile memory controller`, or the class as a number. */
  classOf({ classCode }: Pick<PciFunction, 'classCode'>): string {
    const code = hex(classCode >> 8, 4);
    return this.#names.get(`C${code}`) ?? CLASSES[code] ?? `class ${code}`;
  }

  /** Vendor and device, as far as they are known; else their numbers. */
  modelOf({ vendor, device }: Pick<PciFunction, 'vendor' | 'device'>): string {
    const ids = [hex(vendor, 4), hex(device, 4)];
    const vendorName = this.#names.get(ids[0]);
    if (vendorName === undefined) return ids.join(':');
    return `${vendorName} ${this.#names.get(ids.join(':')) ?? ids[1]}`;
  }

  /** Lines of pci.ids: `vvvv  name`, then `\tdddd  name` of each device; `C cc  name`, then `\tss  name` of each subclass. */
  #read(path: string): boolean {
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch {
      return false;
    }
    let above = '';
    for (const line of text.split('\n')) {
      const [, indent, id, name] = /^(\t?)((?:C )?[0-9a-f]{2,4}) {2}(.+)$/.exec(line) ?? [];
      if (id === undefined) continue;
      if (indent === '') {
        above = id.replace(' ', '');
        this.#names.set(above, name);
      } else {
        this.#names.set(above.startsWith('C') ? `${above}${id}` : `${above}:${id}`, name);
      }
    }
    return true;
  }
}
