/** The PCI function as the lease sees it. Whatever is asked, the engine judges it. */
import type { Handler } from './handler.js';

export const readPciConfig: Handler<'readPciConfig'> = {
  needs: 'lease',
  isNewWork: false,
  async handle(session, { lease, offset, width }) {
    return { value: await session.lease(lease).engine.readPciConfig(lease, offset, width) };
  },
};

export const writePciConfig: Handler<'writePciConfig'> = {
  needs: 'lease',
  isNewWork: false,
  async handle(session, { lease, offset, width, value }) {
    return { resetAsked: await session.lease(lease).engine.writePciConfig(lease, offset, width, value) };
  },
};

export const listPciRegions: Handler<'listPciRegions'> = {
  needs: 'lease',
  isNewWork: false,
  async handle(session, { lease }) {
    const regions = await session.lease(lease).engine.listPciRegions(lease);
    return { regions: regions.map((region) => ({ ...region, readable: region.readable.map((area) => ({ ...area })) })) };
  },
};

export const readPciRegister: Handler<'readPciRegister'> = {
  needs: 'lease',
  isNewWork: false,
  async handle(session, { lease, bar, offset, width }) {
    return { value: await session.lease(lease).engine.readPciRegister(lease, bar, offset, width) };
  },
};

export const readPciRom: Handler<'readPciRom'> = {
  needs: 'lease',
  isNewWork: false,
  async handle(session, { lease, offset, length }) {
    return { data: await session.lease(lease).engine.readPciRom(lease, offset, length) };
  },
};
