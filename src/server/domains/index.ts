/** Domains: the memory that a tenant's devices may reach, and whose it is. */
export { Domain } from './domain.js';
export type { PinAccounts } from './pins.js';
export { Region } from './region.js';
export { DomainRegistry } from './registry.js';
