/** The wire: bytes that anybody may have sent on one side, messages of this protocol on the other. */
export { decode, encode, type RawMessage } from './codec.js';
export { type CompletionsFrame, encodeData, frameCompletions } from './data.js';
export { guardId, guardRequest, guardSubmit, ID, idOf, isRequestType, MAX_DATA_BYTES, REQUEST_FIELDS, SUBMIT_FIELDS } from './guards.js';
export { type Rule, show } from './rules.js';
