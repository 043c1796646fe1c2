/** The NVMe controller of a QEMU: a device model that nobody here wrote, for tests, comparison and demonstration. */
export type { QemuHandle } from './handle.js';
export { prepare } from './launch.js';
export { openQemu } from './open.js';
export type { InjectedError, QemuDrive, QemuOptions } from './options.js';
