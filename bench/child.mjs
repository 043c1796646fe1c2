/** Processes of a benchmark: one asks, the other answers, over Node's channel between them. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** In the child: answers calls with `methods`, and ends with its parent. */
export function answerCalls(methods) {
  const answer = async ({ id, method, args }) => {
    try {
      process.send({ id, value: await methods[method](...args) });
    } catch (error) {
      process.send({ id, error: error.stack ?? String(error) });
    }
  };
  process.on('message', (call) => void answer(call));
  process.on('disconnect', () => process.exit(0));
}

/** Starts `file` of this folder. */
export function startChild(file, { execArgv = [] } = {}) {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), [], { execArgv });
  const ended = once(child, 'exit');
  const waiting = new Map();
  let lastId = 0;
  child.on('message', ({ id, value, error }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(value);
    else reject(new Error(`${file}: ${error}`));
  });
  child.on('exit', (status, signal) => {
    for (const { reject } of waiting.values()) reject(new Error(`${file} ended (${signal ?? status})`));
    waiting.clear();
  });
  return {
    pid: child.pid,
    call(method, ...args) {
      const id = ++lastId;
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        child.send({ id, method, args });
      });
    },
    async end() {
      if (child.connected) child.disconnect();
      await ended;
    },
  };
}
