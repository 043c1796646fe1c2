/** QEMU's teaching device: its driver. No lease can be had on it: it shows that {@link Backing} is not NVMe's alone. */
export { EduDriver } from './driver.js';
