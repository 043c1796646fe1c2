/** The wire contract of Ringwarden: what a client and the server say to each other. It imports nothing outside this folder. */
export * from './codes.js';
export * from './completion.js';
export * from './copy.js';
export * from './entry.js';
export * from './limits.js';
export * from './messages.js';
export * from './operations.js';
export * from './ring.js';
