/** The validator: the only judge of a request, and what it judges by. It knows nothing of sockets, devices, clocks or randomness. */
export { admit } from './admit.js';
export { refusedField, refusedValue } from './explain.js';
export { attachmentToFetch, memoryRule } from './memory.js';
export { TagSet } from './tags.js';
export type { Attachment, Grant, LeaseState, RegionView, Share, TagView } from './types.js';
