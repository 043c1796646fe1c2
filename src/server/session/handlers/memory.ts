/** Memory of the domain: mapMemory, unmapMemory, writeMemory, readMemory. */
import { Refusal } from '../../engine/api.js';
import type { Handler } from './handler.js';

/** Proves that [offset, offset + length) lies in a region of `bytes`. All three are whole and not negative. */
function checkRange(offset: number, length: number, bytes: number): void {
  if (!(length <= bytes && offset <= bytes - length)) throw new Refusal('rangeOutsideRegion', 'offset', offset);
}

export const mapMemory: Handler<'mapMemory'> = {
  needs: 'domain',
  isNewWork: true,
  async handle(session, { bytes }) {
    const region = await session.mustHaveDomain().map(bytes, session.tenant.limits, false);
    return { region: region.handle, bytes: region.bytes };
  },
};

export const unmapMemory: Handler<'unmapMemory'> = {
  needs: 'domain',
  isNewWork: false,
  async handle(session, { region }) {
    await session.mustHaveDomain().unmap(region);
    return {};
  },
};

export const writeMemory: Handler<'writeMemory'> = {
  needs: 'domain',
  isNewWork: false,
  handle(session, { region: handle, offset, data }) {
    const region = session.mustHaveDomain().region(handle);
    checkRange(offset, data.length, region.bytes);
    region.view.set(data, offset);
    return {};
  },
};

export const readMemory: Handler<'readMemory'> = {
  needs: 'domain',
  isNewWork: false,
  handle(session, { region: handle, offset, length }) {
    const region = session.mustHaveDomain().region(handle);
    checkRange(offset, length, region.bytes);
    // A view: the answer is encoded, which copies, before anything else happens.
    return { data: region.view.subarray(offset, offset + length) };
  },
};
