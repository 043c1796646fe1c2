/** Which functions have a driver here. */
import { ClassCode } from '../pci/index.js';
import type { PciFunction } from './functions.js';

/** Class of device that drives the function; undefined: nothing here can drive it. */
export const deviceClassOf = ({ classCode }: Pick<PciFunction, 'classCode'>): 'nvme' | undefined =>
  classCode === ClassCode.nvme ? 'nvme' : undefined;
