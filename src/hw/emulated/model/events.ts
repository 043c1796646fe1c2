/**
 * Asynchronous events (Base Specification 1.4, 5.2): what happened, what the host was told, and what it was not told yet.
 *
 * An event that was reported masks its type until the host reads the log page that was named. What happens meanwhile is kept, each kind once.
 */
import { CriticalWarning, EventConfiguration, EventType, LogPageId, NoticeEvent, SmartEvent, Status } from '../../nvme/spec/index.js';
import { type Command, LATER } from './command.js';

/** Asynchronous event requests that can be outstanding; AERL is one less. */
export const EVENT_REQUESTS = 4;
/** Bits of the configuration that can be set: critical warnings, and namespace attribute changes. */
export const EVENT_MASK = 0x1f | EventConfiguration.namespaceAttribute;

/** Which log page clears events of each type. */
const LOG_PAGES: Readonly<Record<number, number>> = {
  [EventType.error]: LogPageId.errorInformation,
  [EventType.smart]: LogPageId.smart,
  [EventType.notice]: LogPageId.changedNamespaces,
};

export class Events {
  /** The Asynchronous Event Configuration feature. */
  configuration = 0;
  /** Command ids of the requests, oldest first. */
  readonly requests: number[] = [];
  /** Completes the request with this command id. */
  readonly #report: (commandId: number, dword0: number) => void;
  /** Dword 0 of events that the host was not told about. */
  readonly #waiting: number[] = [];
  #masked = 0;

  constructor(report: (commandId: number, dword0: number) => void) {
    this.#report = report;
  }

  reset(): void {
    this.configuration = 0;
    this.requests.length = 0;
    this.#waiting.length = 0;
    this.#masked = 0;
  }

  /** Asynchronous Event Request. */
  request(command: Command): number {
    if (this.requests.length === EVENT_REQUESTS) return Status.eventRequestLimitExceeded;
    this.requests.push(command.id);
    this.#deliver();
    return LATER;
  }

  /** Takes a request away, for Abort. False if there is none with this id. */
  abort(commandId: number): boolean {
    const index = this.requests.indexOf(commandId);
    if (index < 0) return false;
    this.requests.splice(index, 1);
    return true;
  }

  /** An event of any type; error events cannot be switched off (figure 245). */
  add(type: number, information: number): void {
    const dword0 = type | (information << 8) | ((LOG_PAGES[type] ?? 0) << 16);
    if (!this.#waiting.includes(dword0)) this.#waiting.push(dword0);
    this.#deliver();
  }

  /** Critical warnings that were not there before. */
  warn(warnings: number): void {
    const enabled = warnings & this.configuration;
    if ((enabled & CriticalWarning.spare) !== 0) this.add(EventType.smart, SmartEvent.spareBelowThreshold);
    if ((enabled & CriticalWarning.temperature) !== 0) this.add(EventType.smart, SmartEvent.temperatureThreshold);
    const reliability = CriticalWarning.reliability | CriticalWarning.readOnly | CriticalWarning.volatileBackup;
    if ((enabled & reliability) !== 0) this.add(EventType.smart, SmartEvent.reliability);
  }

  /** The attributes of a namespace changed; it is already in the changed namespace list. */
  namespaceChanged(): void {
    if ((this.configuration & EventConfiguration.namespaceAttribute) !== 0) this.add(EventType.notice, NoticeEvent.namespaceAttributeChanged);
  }

  /** A log page was read without Retain Asynchronous Event. */
  cleared(logPage: number): void {
    for (const type of [EventType.error, EventType.smart, EventType.notice]) {
      if (LOG_PAGES[type] === logPage) this.#masked &= ~(1 << type);
    }
    this.#deliver();
  }

  #deliver(): void {
    for (let index = 0; index < this.#waiting.length && this.requests.length > 0;) {
      const dword0 = this.#waiting[index];
      const type = dword0 & 7;
      if ((this.#masked & (1 << type)) !== 0) {
        index++;
        continue;
      }
      // A type that no log page clears (vendor specific) is reported each time.
      if (LOG_PAGES[type] !== undefined) this.#masked |= 1 << type;
      this.#waiting.splice(index, 1);
      this.#report(this.requests.shift() ?? 0, dword0);
    }
  }
}
