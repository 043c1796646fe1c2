/** QEMU's machine protocol: one JSON object a line, answers in the order of the commands, events in between. */
import { createInterface } from 'node:readline';

export class Qmp {
  #socket;
  #waiting = [];

  constructor(socket) {
    this.#socket = socket;
    const lines = createInterface({ input: socket });
    lines.on('line', (line) => this.#take(JSON.parse(line)));
    // QEMU has ended, which its exit status tells.
    for (const emitter of [socket, lines]) emitter.on('error', () => {});
    void this.execute('qmp_capabilities');
  }

  #take(message) {
    if (message.return === undefined && message.error === undefined) return; // the greeting, or an event
    this.#waiting.shift()?.(message);
  }

  /** Resolves to QEMU's answer: {return} or {error: {class, desc}}. Never, if QEMU ends before. */
  execute(command, args = {}) {
    const answer = new Promise((resolve) => this.#waiting.push(resolve));
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    return answer;
  }
}
