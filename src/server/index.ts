/** The driver server. Call `begin` (begin.ts) in the process first, then import this. */
export { loadConfiguration } from './config/index.js';
export type { Configuration } from './config/index.js';
export { createLog } from './log.js';
export type { LogFormat, LogLevel } from './log.js';
export { ServiceManager } from './notify.js';
export { overrideConfiguration } from './overrides.js';
export { startServer } from './server.js';
export type { RunningServer } from './server.js';
export { packageVersion } from './version.js';
