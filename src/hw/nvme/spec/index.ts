/**
 * What the NVM Express specifications say, in tables: Base Specification 1.4 and 2.0, NVM Command Set 1.0. Shared by the driver and the
 * embedded controller model; it knows neither.
 */
export * from './commands.js';
export * from './entries.js';
export * from './field.js';
export * from './identify.js';
export * from './logs.js';
export * from './registers.js';
export * from './status.js';
