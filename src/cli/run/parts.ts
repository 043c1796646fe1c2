/** What the launcher needs beside the command line; loaded by that command alone. */
export { Variable } from '../../client/handle.js';
export { defaultSocketPath } from '../../client/index.js';
export { launch } from '../../client/launch.js';
export { shm as native } from '../../native/shm.js';
