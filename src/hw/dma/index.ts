/** DMA memory: files, the server's own arena, domains, and the one translation from offsets to bus addresses. */
export * from './arena.js';
export * from './copies.js';
export * from './domain.js';
export * from './file.js';
export * from './page-table.js';
export type { RegionIndex } from './region-index.js';
export * from './shown-file.js';
export * from './translate.js';
