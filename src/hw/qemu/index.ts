/** A device of a QEMU, an NVMe controller or edu: models that nobody here wrote, for tests, comparison and demonstration. */
export type { QemuHandle } from './handle.js';
export { prepare } from './launch.js';
export { openQemu } from './open.js';
export type { InjectedError, QemuDrive, QemuNvmeOptions, QemuOptions } from './options.js';
