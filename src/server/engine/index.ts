/** The I/O engine, seen from the main thread. */
export * from './api.js';
export { startEngine, type EngineOptions } from './start.js';
