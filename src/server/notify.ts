/** What the service manager is told (sd_notify(3)): that the server is ready, reads its configuration again, or ends. */
import { shm } from '../native/shm.js';
import type { Log } from './log.js';
import { messageOf } from './text.js';

export class ServiceManager {
  readonly #path: string | undefined;
  readonly #log: Log;

  /** Nobody is told anything where $NOTIFY_SOCKET is not set. It is taken from the environment: what the server starts has nothing to tell. */
  constructor(log: Log, environment: NodeJS.ProcessEnv = process.env) {
    const path = environment['NOTIFY_SOCKET'] ?? '';
    this.#path = /^[/@]/.test(path) ? path : undefined;
    this.#log = log;
    delete environment['NOTIFY_SOCKET'];
  }

  ready(status: string): void {
    this.#tell(`READY=1\nSTATUS=${status}`);
  }

  /** `ready` has to follow. */
  reloading(): void {
    this.#tell(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  }

  stopping(): void {
    this.#tell('STOPPING=1');
  }

  #tell(text: string): void {
    if (this.#path === undefined) return;
    try {
      shm().notify(this.#path, text);
    } catch (error) {
      this.#log.warn('the service manager cannot be told', { error: messageOf(error) });
    }
  }
}
