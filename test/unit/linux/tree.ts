/** A made-up machine: the files in which Linux tells of PCI functions, and the little of the kernel that moves them when those files are written. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { onTestFinished } from 'vitest';
import { Machine } from '../../../src/hw/linux/machine.js';

export const NVME = '0000:01:00.0';

export interface MadeFunction {
  readonly address?: string;
  readonly classCode?: number;
  readonly vendor?: number;
  readonly device?: number;
  readonly driver?: string | undefined;
  readonly override?: string;
  readonly group?: number;
  /** Attributes beside the usual ones. */
  readonly files?: Readonly<Record<string, string>>;
}

/** Written text, in order, as `file: text`. */
type Written = string[];

export class MadeMachine extends Machine {
  readonly written: Written = [];
  /** Makes the n-th write from now (0: the next) fail with a code. */
  failAt: { after: number; code: string } | undefined;
  /** Drivers that take no function. */
  readonly refusing = new Set<string>();
  /** Which driver the kernel finds for a function that no override names one for. */
  readonly usual = new Map<string, string>();

  constructor() {
    super(mkdtempSync(join(tmpdir(), 'ringwarden-machine-')));
    onTestFinished(() => rmSync(this.root, { recursive: true }));
    for (const driver of ['nvme', 'virtio-pci', 'pcieport']) this.driver(driver);
    this.file('sys/bus/pci/drivers_probe', '');
    this.file('proc/self/mountinfo', '');
    this.file('proc/swaps', 'Filename Type Size Used Priority\n');
    this.file('proc/meminfo', 'MemTotal: 1 kB\nHugePages_Total:      64\n');
  }

  file(path: string, text: string): void {
    mkdirSync(dirname(this.path(path)), { recursive: true });
    writeFileSync(this.path(path), text);
  }

  /** A symbolic link to another file of this machine. */
  linkTo(path: string, target: string): void {
    const from = this.path(path);
    mkdirSync(dirname(from), { recursive: true });
    rmSync(from, { force: true });
    symlinkSync(relative(dirname(from), this.path(target)), from);
  }

  driver(name: string): void {
    for (const file of ['bind', 'unbind']) this.file(`sys/bus/pci/drivers/${name}/${file}`, '');
  }

  /** Loads the modules by which programs drive functions, and allows VFIO without an IOMMU. */
  modules({ noIommu = 'Y' }: { readonly noIommu?: string | null } = {}): this {
    this.driver('vfio-pci');
    this.driver('uio_pci_generic');
    if (noIommu !== null) this.file('sys/module/vfio/parameters/enable_unsafe_noiommu_mode', `${noIommu}\n`);
    return this;
  }

  /** Adds a function, by default an NVMe controller with its driver. Returns where its folder is. */
  add(made: MadeFunction = {}): string {
    const { address = NVME, classCode = 0x01_08_02, vendor = 0x1b36, device = 0x0010, override = '(null)', group, files = {} } = made;
    const folder = `sys/devices/pci${address.slice(0, -5)}/${address}`;
    const hex = (value: number, digits: number): string => `0x${value.toString(16).padStart(digits, '0')}\n`;
    const attributes = {
      vendor: hex(vendor, 4),
      device: hex(device, 4),
      class: hex(classCode, 6),
      revision: '0x02\n',
      driver_override: `${override}\n`,
      numa_node: '-1\n',
      ...files,
    };
    for (const [name, text] of Object.entries(attributes)) this.file(`${folder}/${name}`, text);
    this.linkTo(`sys/bus/pci/devices/${address}`, folder);
    const driver = 'driver' in made ? made.driver : 'nvme';
    if (driver !== undefined) this.#give(address, driver);
    if (driver !== undefined) this.usual.set(address, driver);
    if (group !== undefined) {
      mkdirSync(this.path(`sys/kernel/iommu_groups/${group}`), { recursive: true });
      this.linkTo(`${folder}/iommu_group`, `sys/kernel/iommu_groups/${group}`);
    }
    return folder;
  }

  /** A block device below a function. */
  disk(folder: string, name: string, number: string): string {
    const disk = `${folder}/nvme/nvme0/${name}`;
    this.file(`${disk}/dev`, `${number}\n`);
    mkdirSync(this.path(`${disk}/holders`), { recursive: true });
    this.linkTo(`sys/class/block/${name}`, disk);
    return disk;
  }

  /** A network interface below a function. */
  interface(folder: string, name: string, { up = false, flags = '0x1002' }: { readonly up?: boolean; readonly flags?: string } = {}): string {
    const net = `${folder}/virtio2/net/${name}`;
    this.file(`${net}/flags`, `${flags}\n`);
    this.file(`${net}/operstate`, up ? 'up\n' : 'down\n');
    this.linkTo(`sys/class/net/${name}`, net);
    return net;
  }

  driverOf(address = NVME): string | undefined {
    return this.linkName('sys/bus/pci/devices', address, 'driver');
  }

  /** What the kernel does on a write to these files (drivers/base/bus.c, drivers/pci/pci-sysfs.c). */
  override write(text: string, ...parts: readonly string[]): void {
    const file = join(...parts);
    if (this.failAt !== undefined && this.failAt.after-- === 0) {
      const { code } = this.failAt;
      this.failAt = undefined;
      throw Object.assign(new Error(code), { code });
    }
    super.write(text, file);
    this.written.push(`${file}: ${text}`);
    const name = basename(file);
    const owner = basename(dirname(file));
    if (name === 'driver_override') this.file(file, text === '\n' ? '(null)\n' : text);
    else if (name === 'unbind') rmSync(this.path('sys/bus/pci/devices', text, 'driver'));
    else if (name === 'bind') this.#take(text, owner);
    else if (name === 'drivers_probe') this.#probe(text);
  }

  #probe(address: string): void {
    const override = this.text('sys/bus/pci/devices', address, 'driver_override') ?? '';
    const wanted = override === '(null)' ? this.usual.get(address) : override;
    if (wanted !== undefined && existsSync(this.path('sys/bus/pci/drivers', wanted))) this.#take(address, wanted);
  }

  #take(address: string, driver: string): void {
    if (!this.refusing.has(driver)) this.#give(address, driver);
  }

  #give(address: string, driver: string): void {
    const folder = `sys/devices/pci${address.slice(0, -5)}/${address}`;
    this.linkTo(`${folder}/driver`, `sys/bus/pci/drivers/${driver}`);
  }

  /** Everything that is there, but for what was written: to compare before and after. */
  snapshot(): string[] {
    return readdirSync(this.root, { recursive: true, encoding: 'utf8' }).sort();
  }
}
