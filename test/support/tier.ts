/** The fast tier, `npm test`, leaves out what takes long; `npm run test:full` has all of it. */
export const FULL = process.env['RINGWARDEN_FULL'] === '1';

/** For titles of tests that the fast tier skips. */
export const fullOnly = FULL ? '' : ' (skipped: part of npm run test:full)';
