/**
 * What the server's process gives up before it loads anything that touches a client's bytes. It does not import them: call this first, then
 * `import()` the server.
 */
import { setFlagsFromString } from 'node:v8';

/** `Function`, and what makes async functions and generators of text; each is reached through any function's `constructor`. */
const CONSTRUCTORS: readonly { readonly prototype: object }[] = [
  Function,
  (async () => undefined).constructor,
  function* () {}.constructor,
  async function* () {}.constructor,
];

/**
 * From here on no text becomes code: `new Function`, `eval` and their relatives throw an EvalError. V8's own switch works only for threads that begin
 * later (the I/O engines), or from the command line; for this thread the constructors themselves are replaced.
 */
export function forbidCodeGeneration(): void {
  setFlagsFromString('--disallow-code-generation-from-strings');
  for (const constructor of CONSTRUCTORS) {
    const forbidden = function (): never {
      throw new EvalError('Code generation from strings disallowed');
    };
    Object.defineProperty(forbidden, 'prototype', { value: constructor.prototype });
    Object.defineProperty(constructor.prototype, 'constructor', { value: forbidden, writable: false, configurable: false });
    if (constructor === Function) Object.defineProperty(globalThis, 'Function', { value: forbidden, writable: false, configurable: false });
  }
  const forbiddenEval = (): never => {
    throw new EvalError('Code generation from strings disallowed');
  };
  Object.defineProperty(globalThis, 'eval', { value: forbiddenEval, writable: false, configurable: false });
}

/** Everything, in order. Once for each process. */
export function harden(): void {
  forbidCodeGeneration();
  // Tenants' bytes stay in JavaScript: msgpackr's optional C++ part is never loaded.
  process.env['MSGPACKR_NATIVE_ACCELERATION_DISABLED'] = 'true';
}
