/** What the server's process does first; the rest of the server is then imported with `import()`. It imports nothing that touches a client's bytes. */
import { prepareThread } from './engine/engine-threads.js';
import { inlineRequestPath } from './engine/inlining.js';
import { harden } from './harden.js';

/** Hardens the process, then starts what takes long to start. Once for each process. */
export function begin(): void {
  harden();
  inlineRequestPath();
  prepareThread();
}
