import { setFlagsFromString } from 'node:v8';

/**
 * Lets the compiler put the whole of the request path into one function. By V8's own limit a third of the rules stay calls, which makes a request a quarter
 * dearer (docs/performance.md). For the whole process, before the engine's code is hot.
 */
export function inlineRequestPath(): void {
  setFlagsFromString('--max-inlined-bytecode-size-cumulative=3000');
}
