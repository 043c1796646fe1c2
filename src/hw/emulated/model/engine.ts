/** Serves the queues: fetches commands, carries them out or lets a fault have its way, posts completions, and looks after those that wait. */
import { COMPLETION_DO_NOT_RETRY, COMPLETION_MORE, EventType, Sqe, Status } from '../../nvme/spec/index.js';
import type { Bus } from '../bus.js';
import type { FaultAction, Faults } from '../faults.js';
import { Command, LATER, NO_PARAMETER } from './command.js';
import type { ErrorLog } from './error-log.js';
import type { Events } from './events.js';
import type { Health } from './health.js';
import { Held, type HeldCommand, type HeldCommands } from './held.js';
import { FlushState } from './media.js';
import { CompletionQueue, type QueueSet, SubmissionQueue } from './queues.js';
import type { Registers } from './registers.js';

/** Commands carried out in one step, so that whoever steps the model gets its turn. */
const STEP_COMMANDS = 256;
/** Queue and command id of an error that no command caused (error log, bytes 11:8). */
const NO_COMMAND = 0xffff;

export interface EngineTargets {
  readonly bus: Bus;
  readonly queues: QueueSet;
  readonly held: HeldCommands;
  readonly errors: ErrorLog;
  readonly events: Events;
  readonly health: Health;
  /** Milliseconds, as in `hw/task.ts`. */
  readonly clock: () => number;
  /** Whether queues may be served is asked again after each command, because a command can end it. */
  readonly registers: Registers;
  /** Carries out a command: a status, or `LATER`. */
  readonly execute: (command: Command) => number;
  /** One of {@link FlushState}. */
  readonly flushState: (medium: number, ticket: number) => number;
  /** Goes on with a command that makes blocks zeros: a status, or `LATER`. */
  readonly continueZeroing: (held: HeldCommand) => number;
  /** The function leaves the bus. */
  readonly remove: () => void;
}

export class CommandEngine {
  faults: Faults | undefined;
  readonly #targets: EngineTargets;
  /** The one that is being carried out. */
  readonly #command = new Command(new SubmissionQueue(0, 2, new CompletionQueue(0, 2, -1, 0, 0), 0, 0));
  /** What happens to its completion. */
  #tamper: FaultAction | undefined;
  /** The same, of asynchronous event requests, by command id. */
  readonly #eventTampers = new Map<number, FaultAction>();

  constructor(targets: EngineTargets) {
    this.#targets = targets;
  }

  /** After a controller reset. */
  reset(): void {
    this.#targets.held.clear();
    this.#tamper = undefined;
    this.#eventTampers.clear();
    this.#audit(-1, -1);
  }

  /**
   * One step: what waited and is due, then the queues in turn, each for a burst. Returns how many commands were touched.
   * @param burst commands of one queue in a row, or Infinity
   */
  step(now: number, burst: number): number {
    const { held, queues, health, clock } = this.#targets;
    let done = held.count > 0 ? this.#release(now) : 0;
    if (queues.readyCount > 0) {
      done += this.#serve(now, burst);
      health.busyMs += clock() - now;
    }
    this.#audit(-1, -1);
    queues.interrupt();
    return done;
  }

  #serve(now: number, burst: number): number {
    const { queues, registers } = this.#targets;
    let done = 0;
    for (let queue = queues.next(); queue !== undefined; queue = queues.next()) {
      const end = Math.min(STEP_COMMANDS, done + burst);
      while (done < end && queue.head !== queue.tail && !queue.completion.full && !queue.gone && registers.serving) {
        this.#fetch(queue, now);
        done++;
      }
      if (!registers.serving) return done;
      queues.putBack(queue);
      if (done >= STEP_COMMANDS) break;
    }
    return done;
  }

  #fetch(queue: SubmissionQueue, now: number): void {
    const command = this.#command;
    this.#audit(queue.id, -1);
    this.#targets.queues.fetch(queue, command);
    this.#audit(queue.id, command.id);
    command.queue = queue;
    if (this.faults !== undefined && this.#interfere(this.faults, now)) return;
    this.#execute();
  }

  #execute(): void {
    const command = this.#command;
    command.dword0 = 0;
    command.parameter = NO_PARAMETER;
    const status = this.#targets.execute(command);
    const tamper = this.#tamper;
    this.#tamper = undefined;
    if (status === LATER) {
      if (tamper !== undefined) this.#tamperLater(command, tamper);
      return;
    }
    if (status !== Status.success) this.#log(command, status);
    this.#complete(command.queue, command.id, status, command.dword0, tamper);
  }

  #tamperLater(command: Command, tamper: FaultAction): void {
    const index = this.#targets.held.find(command.queue.id, command.id);
    if (index >= 0) this.#targets.held.at(index).tamper = tamper;
    else this.#eventTampers.set(command.id, tamper);
  }

  /** Lets a fault have its way with the fetched command. True if the command is not carried out now. */
  #interfere(faults: Faults, now: number): boolean {
    const { words, queue, opcode, namespace, id } = this.#command;
    const lba = queue.id === 0 ? -1 : lbaOf(words);
    const action = faults.find(queue.id, opcode, namespace, lba, (words[Sqe.cdw12] & 0xffff) + 1);
    switch (action?.kind) {
      case undefined:
        return false;
      case 'drop':
        return true;
      case 'hang':
        this.#targets.held.add(Held.abort, queue, id);
        return true;
      case 'delay': {
        const held = this.#targets.held.add(Held.time, queue, id);
        held.words.set(words);
        held.due = now + action.milliseconds;
        return true;
      }
      case 'status': {
        const status = (action.type << 8) | action.code;
        this.#command.parameter = NO_PARAMETER;
        if (status !== Status.success) this.#log(this.#command, status);
        this.#complete(queue, id, status, 0);
        return true;
      }
      case 'fatal':
        this.#targets.registers.setFatal();
        return true;
      case 'removeDevice':
        this.#targets.remove();
        return true;
      default:
        this.#tamper = action;
        return false;
    }
  }

  /** Completes a command, unless its queue is gone. The More bit says that the error log has an entry. */
  #complete(queue: SubmissionQueue | undefined, commandId: number, status: number, dword0: number, tamper?: FaultAction): void {
    if (queue === undefined || queue.gone) return;
    const { queues } = this.#targets;
    let dword3 = status << 17;
    if (status !== Status.success) dword3 |= COMPLETION_MORE | (isWorthRetrying(status) ? 0 : COMPLETION_DO_NOT_RETRY);
    if (tamper === undefined) {
      queues.post(queue.completion, dword0, queue.id, queue.head, commandId, dword3);
      return;
    }
    const id = tamper.kind === 'corruptCommandId' ? (tamper.commandId ?? commandId ^ 0xffff) : commandId;
    const from = tamper.kind === 'wrongQueue' ? (tamper.queue ?? queue.id + 1) : queue.id;
    const head = tamper.kind === 'wrongHead' ? tamper.head : queue.head;
    queues.post(queue.completion, dword0, from, head, id, dword3);
    if (tamper.kind === 'duplicate') queues.post(queue.completion, dword0, from, head, id, dword3);
  }

  #log(command: Command, status: number): void {
    const lba = command.queue.id === 0 ? 0 : lbaOf(command.words);
    this.#targets.errors.add(command.queue.id, command.id, status, command.parameter, lba, command.namespace);
  }

  /** Goes on with held commands whose time has come. Returns how many. */
  #release(now: number): number {
    const { held, registers } = this.#targets;
    let done = 0;
    for (let index = 0; index < held.count && registers.serving;) {
      const command = held.at(index);
      const { queue, kind, commandId, tamper } = command;
      const isDue = kind === Held.time && now >= command.due;
      const status = this.#progress(command);
      if (status !== LATER || kind === Held.zeroing) done++;
      if (queue === undefined || (status === LATER && !isDue)) {
        index++;
        continue;
      }
      if (isDue) this.#command.words.set(command.words);
      held.remove(index);
      if (isDue) this.#resume(queue);
      else this.#finish(queue, commandId, status, tamper);
    }
    return done;
  }

  /** Status of a held command that is done, or {@link LATER}. */
  #progress(command: HeldCommand): number {
    const { flushState, continueZeroing, health } = this.#targets;
    if (command.kind === Held.zeroing) return continueZeroing(command);
    if (command.kind !== Held.durable) return LATER;
    const state = flushState(command.medium, command.ticket);
    if (state === FlushState.waiting) return LATER;
    if (state === FlushState.done) return Status.success;
    health.mediaErrors++;
    return Status.writeFault;
  }

  #resume(queue: SubmissionQueue): void {
    this.#command.queue = queue;
    this.#audit(queue.id, this.#command.id);
    this.#execute();
  }

  #finish(queue: SubmissionQueue, commandId: number, status: number, tamper: FaultAction | undefined): void {
    if (status !== Status.success) this.#targets.errors.add(queue.id, commandId, status, NO_PARAMETER, 0, 0);
    this.#complete(queue, commandId, status, 0, tamper);
  }

  /** Completes an asynchronous event request. */
  report(commandId: number, dword0: number): void {
    const tamper = this.#eventTampers.get(commandId);
    this.#eventTampers.delete(commandId);
    this.#complete(this.#targets.queues.submission[0], commandId, Status.success, dword0, tamper);
  }

  /** Ends a command that is outstanding. False if there is none with this id. */
  abort(queueId: number, commandId: number): boolean {
    const { held, events, queues } = this.#targets;
    const index = held.find(queueId, commandId);
    const waitsForEvent = index < 0 && queueId === 0 && events.abort(commandId);
    if (index >= 0) held.remove(index);
    else if (!waitsForEvent) return false;
    this.#end(queues.submission[queueId], commandId, Status.abortRequested);
    return true;
  }

  /** Ends all outstanding commands of a queue that is being deleted. */
  abandon(queue: SubmissionQueue): void {
    const { held } = this.#targets;
    for (let index = held.count - 1; index >= 0; index--) {
      const { queue: owner, commandId } = held.at(index);
      if (owner !== queue) continue;
      held.remove(index);
      this.#end(queue, commandId, Status.abortedQueueDeleted);
    }
  }

  #end(queue: SubmissionQueue | undefined, commandId: number, status: number): void {
    this.#targets.errors.add(queue?.id ?? NO_COMMAND, commandId, status, NO_PARAMETER, 0, 0);
    this.#complete(queue, commandId, status, 0);
  }

  /** A wrong doorbell write; `information` as in `ErrorEvent`. */
  doorbellError(information: number): void {
    this.#targets.errors.add(NO_COMMAND, NO_COMMAND, Status.success, NO_PARAMETER, 0, 0);
    this.#targets.events.add(EventType.error, information);
  }

  #audit(queueId: number, commandId: number): void {
    const { audit } = this.#targets.bus;
    if (audit === undefined) return;
    audit.queue = queueId;
    audit.command = commandId;
  }
}

function lbaOf(words: Int32Array): number {
  return (words[Sqe.cdw11] >>> 0) * 2 ** 32 + (words[Sqe.cdw10] >>> 0);
}

/** Statuses that may go away by themselves. */
function isWorthRetrying(status: number): boolean {
  switch (status) {
    case Status.dataTransferError:
    case Status.internalError:
    case Status.abortRequested:
    case Status.abortedQueueDeleted:
    case Status.namespaceNotReady:
    case Status.commandInterrupted:
    case Status.writeFault:
    case Status.unrecoveredReadError:
      return true;
    default:
      return false;
  }
}
