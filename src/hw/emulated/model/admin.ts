/** Admin commands (Base Specification 1.4, section 5). */
import { AbortCdw10, AdminOpcode, Sqe, Status, getField } from '../../nvme/spec/index.js';
import type { Transfer } from '../transfer.js';
import type { Command } from './command.js';
import type { Events } from './events.js';
import type { Features } from './features.js';
import { identify } from './identify.js';
import type { Logs } from './logs.js';
import type { Namespace } from './namespace.js';
import type { PrpWalker } from './prp.js';
import { createCompletionQueue, createSubmissionQueue, deleteCompletionQueue, deleteSubmissionQueue, type QueueLimits } from './queue-commands.js';
import type { QueueSet, SubmissionQueue } from './queues.js';
import type { ControllerShape } from './shape.js';

/** Completion Dword 0 of Abort: the command was not aborted. */
const NOT_ABORTED = 1;

export interface AdminTargets {
  readonly shape: ControllerShape;
  readonly namespaces: readonly Namespace[];
  readonly queues: QueueSet;
  readonly events: Events;
  readonly features: Features;
  readonly logs: Logs;
  readonly transfer: Transfer;
  readonly walker: PrpWalker;
  limits(): QueueLimits;
  /** Ends a command that is outstanding with the given status. False if there is none. */
  abort(queueId: number, commandId: number): boolean;
  /** Ends all outstanding commands of a queue that is being deleted. */
  abandon(queue: SubmissionQueue): void;
}

export class AdminCommands {
  readonly #targets: AdminTargets;

  constructor(targets: AdminTargets) {
    this.#targets = targets;
  }

  /** Returns a status, or `LATER`. */
  execute(command: Command): number {
    if (command.unsupportedBits !== 0) return command.wrong(Sqe.cdw0, Status.invalidField);
    const { shape, namespaces, queues, events, features, logs } = this.#targets;
    switch (command.opcode) {
      case AdminOpcode.identify:
        return identify(shape, namespaces, command, (data) => this.#answer(command, data));
      case AdminOpcode.getLogPage:
        return logs.get(command, (data) => this.#answer(command, data));
      case AdminOpcode.createCompletionQueue:
        return createCompletionQueue(queues, this.#targets.limits(), command);
      case AdminOpcode.createSubmissionQueue:
        return createSubmissionQueue(queues, this.#targets.limits(), command);
      case AdminOpcode.deleteCompletionQueue:
        return deleteCompletionQueue(queues, command);
      case AdminOpcode.deleteSubmissionQueue:
        return deleteSubmissionQueue(queues, command, (queue) => this.#targets.abandon(queue));
      case AdminOpcode.setFeatures:
        return features.set(command);
      case AdminOpcode.getFeatures:
        return features.get(command);
      case AdminOpcode.abort:
        return this.#abort(command);
      case AdminOpcode.asynchronousEventRequest:
        return events.request(command);
      default:
        return command.wrong(Sqe.cdw0, Status.invalidOpcode);
    }
  }

  #abort(command: Command): number {
    const cdw10 = command.words[Sqe.cdw10];
    const aborted = this.#targets.abort(getField(AbortCdw10.sqid, cdw10), getField(AbortCdw10.cid, cdw10));
    command.dword0 = aborted ? 0 : NOT_ABORTED;
    return Status.success;
  }

  /** Writes `data` where the command's data pointer says. */
  #answer(command: Command, data: Uint8Array): number {
    const status = this.#targets.walker.walk(command.words, data.length, true);
    if (status !== Status.success) return command.wrong(Sqe.prp1Low, status);
    this.#targets.transfer.put(data);
    return Status.success;
  }
}
