/**
 * The embedded NVMe controller: a device model inside the process, as a backing (hw/backing.ts). The default of the server, and the oracle of
 * the tests.
 */
export { type AccessTarget, type AuditRecord, violations } from './audit.js';
export { EmulatedBacking, type InjectedEvent } from './backing.js';
export type { EmulatedInspection } from './device.js';
export type { Fault, FaultAction, FaultMatch } from './faults.js';
export type { EmulatedHandle } from './handle.js';
export type { HealthReadings } from './model/health.js';
export type { EmulatedOptions, NamespaceOptions } from './options.js';
export { openEmulated } from './open.js';
export { prepareEmulated } from './prepare.js';
