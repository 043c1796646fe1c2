/** Every request of the protocol and what answers it. */
import type { RequestType } from '../../../protocol/index.js';
import { closeDevice, closeQueue, deviceState, listDevices, openDevice, openQueue, resetLease } from './device.js';
import { hello, ping, setDomain, unsetDomain } from './general.js';
import type { Handler } from './handler.js';
import { mapMemory, readMemory, unmapMemory, writeMemory } from './memory.js';
import { listPciRegions, readPciConfig, readPciRegister, readPciRom, writePciConfig } from './pci.js';
import { sealRegion, shareQueue, shareRegion } from './share.js';
import { bindEventfd, bindVector, unbindEventfd, vectorState } from './vectors.js';
import { viewQueue } from './view.js';

export { LATER } from './handler.js';

export const HANDLERS: { readonly [Type in RequestType]: Handler<Type> } = {
  hello,
  listDevices,
  setDomain,
  unsetDomain,
  openDevice,
  closeDevice,
  openQueue,
  closeQueue,
  shareQueue,
  viewQueue,
  mapMemory,
  unmapMemory,
  shareRegion,
  sealRegion,
  writeMemory,
  readMemory,
  resetLease,
  bindVector,
  bindEventfd,
  unbindEventfd,
  vectorState,
  readPciConfig,
  writePciConfig,
  listPciRegions,
  readPciRegister,
  readPciRom,
  deviceState,
  ping,
};
