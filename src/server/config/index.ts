/** The server's configuration. */
export { systemEnvironment } from './environment.js';
export type { Environment } from './environment.js';
export { configJsonSchema } from './json-schema.js';
export { loadConfiguration, parseConfiguration } from './load.js';
export { isLoopback } from './loopback.js';
export { ConfigError, ConfigProblem } from './problems.js';
export type { KeyPath } from './problems.js';
export { MAX_TENANTS } from './schema.js';
export type * from './types.js';
