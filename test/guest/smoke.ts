/** That the guest has what the other rows count on, so that they fail for reasons of their own. */
import { strict as assert } from 'node:assert';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { release, totalmem } from 'node:os';
import { guest } from './guest.js';

const read = (path: string): string => readFileSync(path, 'utf8').trim();
const { nvme, edu, slot } = guest.devices;

for (const [address, identity] of [
  [nvme, '0x010802'],
  [slot.address, '0x010802'],
  [edu, '0x00ff00'],
]) {
  assert.equal(read(`/sys/bus/pci/devices/${address}/class`), identity, address);
  assert.equal(existsSync(`/sys/bus/pci/devices/${address}/iommu_group`), guest.hasIommu, `the IOMMU group of ${address}`);
}
assert.equal(read('/sys/module/vfio/parameters/enable_unsafe_noiommu_mode'), 'N', 'vfio has no no-IOMMU mode');
for (const driver of ['vfio-pci', 'uio_pci_generic', 'nvme']) assert.ok(existsSync(`/sys/bus/pci/drivers/${driver}`), driver);
assert.equal(readdirSync('/sys/devices/system/node').filter((name) => /^node\d/.test(name)).length, 2);
assert.ok(Number(/HugePages_Free: +(\d+)/.exec(read('/proc/meminfo'))?.[1]) > 0, 'no huge pages');
writeFileSync('/guest-was-here', ''); // in memory, not on the machine
console.log(`result: Linux ${release()}, Node ${process.version}, ${Math.round(totalmem() / 2 ** 20)} MiB`);
