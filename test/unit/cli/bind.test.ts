import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { describe, expect, it, test, vi } from 'vitest';
import { bindCommand, unbindCommand } from '../../../src/cli/bind.js';
import { machineText, machineView } from '../../../src/cli/functions.js';
import { FORMER_FILE, Formers, bind } from '../../../src/hw/linux/binding/index.js';
import { listFunctions } from '../../../src/hw/linux/functions.js';
import { Machine } from '../../../src/hw/linux/machine.js';
import { PciNames } from '../../../src/hw/linux/names.js';
import { standingOn } from '../../../src/hw/linux/use/index.js';
import { MadeMachine, NVME } from '../linux/tree.js';
import { ringwarden } from './support.js';

async function printed(command: Command, ...args: string[]): Promise<string> {
  let out = '';
  const stdout = vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += String(text);
    return true;
  });
  try {
    await command.parseAsync(args, { from: 'user' });
    return out;
  } finally {
    stdout.mockRestore();
  }
}

function world(): { machine: MadeMachine; state: string[] } {
  const machine = new MadeMachine().modules();
  machine.add();
  return { machine, state: ['--state', machine.path('bindings.json')] };
}

describe('bind and unbind', () => {
  it('say what they did', async () => {
    const { machine, state } = world();
    expect(await printed(bindCommand(machine), '01:00.0', ...state)).toBe(
      `${NVME} is bound to vfio: driver nvme -> driver vfio-pci\n` +
        `note: no IOMMU stands between ${NVME} and the memory of this machine, and the kernel is tainted once it is opened\n`,
    );
    expect(await printed(unbindCommand(machine), NVME, ...state)).toBe(`${NVME} is given back: driver vfio-pci -> driver nvme\n`);
    expect(machine.driverOf()).toBe('nvme');
  });

  it('say what they would do', async () => {
    const { machine, state } = world();
    expect(await printed(bindCommand(machine), NVME, '--dry-run', '--to', 'sysfs', ...state)).toMatch(
      /^0000:01:00\.0 would be bound to sysfs: driver nvme -> no driver\n {2}echo none > \/sys\/.*driver_override\n {2}echo .*unbind\nnote: /,
    );
    expect(machine.driverOf()).toBe('nvme');
  });

  it('in JSON', async () => {
    const { machine, state } = world();
    expect(JSON.parse(await printed(bindCommand(machine), NVME, '-o', 'json', ...state))).toMatchObject({
      address: NVME,
      path: 'vfio',
      from: 'nvme',
      driver: 'vfio-pci',
      dryRun: false,
      steps: [expect.any(String), expect.any(String), expect.any(String)],
    });
    expect(JSON.parse(await printed(unbindCommand(machine), NVME, '-o', 'json', '--dry-run', ...state))).toMatchObject({
      from: 'vfio-pci',
      driver: 'nvme',
      dryRun: true,
    });
  });

  test.each([
    ['bind', 'nvme0', /^error: "nvme0" is not the address of a PCI function, such as 0000:01:00\.0\n {3}do: .+\n$/],
    ['bind', 'ffff:fe:1f.7', /^error: there is no PCI function ffff:fe:1f\.7 in this machine\n {3}do: .+status --devices.*\n$/],
    ['unbind', '1:2', /^error: "1:2" is not the address/],
  ])('%s %s fails with status 1 and says what to do', async (command, address, err) => {
    expect(await ringwarden(command, address)).toEqual({ status: 1, out: '', err: expect.stringMatching(err) });
  });
});

/** Functions of the machine that runs this test on which it stands itself. */
class Untouchable extends Machine {
  override write(): void {
    throw new Error('a test wanted to change the machine that it runs on');
  }
}
const untouchable = new Untouchable();
const inUse = listFunctions(untouchable).filter((each) => standingOn(untouchable, each).uses.length > 0);

test.skipIf(inUse.length === 0)(
  `this machine keeps its own devices${inUse.length === 0 ? ' (skipped: nothing of it stands on a PCI function)' : ''}`,
  async () => {
    const drivers = () => listFunctions(untouchable).map(({ address, driver, driverOverride }) => [address, driver, driverOverride]);
    const before = drivers();
    for (const { address } of inUse) {
      // First where nothing can be written, so that nothing happens to this machine should it not be refused.
      expect(() => bind(untouchable, new Formers('/proc/nowhere/state'), address)).toThrow(/is in use by this machine/);
      for (const options of [['--dry-run'], [], ['--to', 'sysfs']]) {
        expect(await ringwarden('bind', address, ...options)).toEqual({
          status: 1,
          out: '',
          err: expect.stringMatching(new RegExp(`^error: ${address} is in use by this machine: .+\\n {3}do: .+\\n$`)),
        });
      }
    }
    expect(drivers()).toEqual(before);
    expect(existsSync(FORMER_FILE)).toBe(false);
  },
);

describe('status of the machine', () => {
  it('tells what is bound, what could be, and what the machine needs', async () => {
    const machine = new MadeMachine().modules();
    machine.add({ address: '0000:00:00.0', classCode: 0x06_00_00, driver: undefined });
    const disk = machine.add({ address: '0000:01:00.0', group: 3 });
    machine.disk(disk, 'nvme0n1', '259:0');
    machine.file('proc/self/mountinfo', '1 1 259:0 / / rw - ext4 /dev/nvme0n1 rw\n');
    machine.add({ address: '0000:02:00.0', driver: 'vfio-pci' });
    machine.add({ address: '0000:03:00.0' });
    machine.add({ address: '0000:04:00.0', classCode: 0x03_00_00, driver: undefined });
    const view = machineView(machine, new PciNames('/nowhere'));
    expect((await machineText(view)).split('\n')).toEqual([
      'PCI functions bound for programs',
      'FUNCTION      CLASS                           MODEL      DRIVER    PATH  IOMMU  IN USE',
      '0000:02:00.0  Non-Volatile memory controller  1b36:0010  vfio-pci  vfio  none   -',
      '',
      'PCI functions that could be bound',
      'FUNCTION      CLASS                           MODEL      DRIVER  PATH  IOMMU  IN USE',
      '0000:03:00.0  Non-Volatile memory controller  1b36:0010  nvme    -     none   -',
      '',
      'PCI functions of this machine',
      'FUNCTION      CLASS                           MODEL      DRIVER  PATH  IOMMU    IN USE',
      '0000:00:00.0  Host bridge                     1b36:0010  -       -     none     it is a bridge',
      '0000:01:00.0  Non-Volatile memory controller  1b36:0010  nvme    -     group 3  nvme0n1 is mounted at /',
      '0000:04:00.0  VGA compatible controller       1b36:0010  -       -     none     no driver here',
      '',
      'no IOMMU: a function that is bound reaches all memory, and only what drives it holds it back',
    ]);
    expect(view.functions[1]).toMatchObject({ id: '1b36:0010', class: '010802', path: null, drivenAs: 'nvme', uses: ['nvme0n1 is mounted at /'] });
  });

  it('says so when there is none', async () => {
    expect(await machineText(machineView(new Machine('/nowhere')))).toBe('this machine has no PCI functions');
  });

  it('is told with --devices, without a server', async () => {
    const { status, out, err } = await ringwarden('status', '--devices', '-o', 'json');
    expect([status, err]).toEqual([0, '']);
    const { server, functions } = JSON.parse(out) as { server: null; functions: { address: string }[] };
    expect(server).toBeNull();
    expect(functions.map(({ address }) => address)).toEqual(listFunctions(new Machine()).map(({ address }) => address));
  });
});
