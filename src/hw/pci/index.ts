/** PCI, apart from any device and any backing: configuration space, BARs, capabilities, MSI-X, reset. */
export * from './bars.js';
export * from './capabilities.js';
export * from './msix.js';
export * from './reset.js';
export * from './spec.js';
