/** Before the tests of a row, in their process: binds the functions that the row names. */
import { guest } from './guest.js';
import { bindTo } from './pci.js';

const row = guest.rows[Number(process.env['RINGWARDEN_GUEST_ROW'])];
for (const [address, driver] of Object.entries(row.bind ?? {})) bindTo(address, driver);
