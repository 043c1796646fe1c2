/** PCI, apart from any device and any backing: configuration space, BARs, capabilities, MSI-X, ROM, reset, and what tenants see of them. */
export * from './bars.js';
export * from './capabilities.js';
export * from './msi.js';
export * from './msix.js';
export * from './regions.js';
export * from './reset.js';
export * from './rom.js';
export * from './snapshot.js';
export * from './spec.js';
export * from './virtual-config.js';
