import { PATHS } from '../hw/linux/drivers.js';

/** Worlds that a device can be put into: a model, or a way to the PCI function that it is. */
export const WORLDS = ['emulated', 'qemu', ...PATHS] as const;
export type World = (typeof WORLDS)[number];
