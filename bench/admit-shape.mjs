/** What both threads of `admit.mjs` know. */
export const TENANTS = 64;
export const REGIONS = 64;
export const BATCH = 32;
export const REGION_BYTES = 65_536;
export const SHARE_BLOCKS = 4096;
export const GENERATION = 7;
export const leaseOf = (tenant) => 0x0100_0000 | tenant;
export const regionOf = (region) => 0x0100_0000 | region;
