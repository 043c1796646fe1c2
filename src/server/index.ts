/** The driver server. Call {@link harden} in the process first, then import this. */
export { SocketInUse } from './admin/index.js';
export { ConfigError, configJsonSchema, formatSize, loadConfiguration } from './config/index.js';
export type { BackingKind, Configuration } from './config/index.js';
export { DeviceError } from './devices.js';
export { LedgerError } from './ledger/index.js';
export { LOG_FORMATS, LOG_LEVELS, createLog } from './log.js';
export type { Log, LogFormat, LogLevel } from './log.js';
export { overrideConfiguration } from './overrides.js';
export type { Overrides } from './overrides.js';
export { startServer } from './server.js';
export type { RunningServer } from './server.js';
export { StateFolderInUse } from './state-folder.js';
export { packageVersion } from './version.js';
