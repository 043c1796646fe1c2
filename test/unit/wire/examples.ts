/** One good request of each type, with every field that it may have. */
import type { RequestType, Requests } from '../../../src/protocol/index.js';

export const EXAMPLES: { readonly [Type in RequestType]: Required<Requests[Type]> } = {
  hello: { version: 1, tenant: 'alice', token: 'a-long-token', client: 'test' },
  listDevices: {},
  setDomain: { domain: 1 },
  unsetDomain: {},
  openDevice: { device: 'nvme0', mode: 'shared', queues: 'own', ringViews: true },
  closeDevice: { lease: 1 },
  openQueue: { lease: 1, entries: 64 },
  closeQueue: { lease: 1, queue: 0 },
  shareQueue: { lease: 1, queue: 0 },
  viewQueue: { lease: 1, queue: 0 },
  mapMemory: { bytes: 65_536 },
  unmapMemory: { region: 65_536 },
  shareRegion: { region: 65_536 },
  sealRegion: { region: 65_536 },
  writeMemory: { region: 65_536, offset: 4, data: Uint8Array.from([1, 2, 3]) },
  readMemory: { region: 65_536, offset: 4, length: 3 },
  resetLease: { lease: 1 },
  bindVector: { lease: 1, vector: 0, enable: true },
  bindEventfd: { lease: 1, vector: 0, source: 'client', microseconds: 100, events: 8 },
  unbindEventfd: { lease: 1, vector: 0 },
  vectorState: { lease: 1, vector: 0 },
  readPciConfig: { lease: 1, offset: 0, width: 4 },
  writePciConfig: { lease: 1, offset: 4, width: 2, value: 6 },
  listPciRegions: { lease: 1 },
  readPciRegister: { lease: 1, bar: 0, offset: 8, width: 4 },
  readPciRom: { lease: 1, offset: 0, length: 512 },
  deviceState: { device: 'nvme0', wait: false },
  ping: {},
};

export const REQUEST_TYPES = Object.keys(EXAMPLES) as RequestType[];
