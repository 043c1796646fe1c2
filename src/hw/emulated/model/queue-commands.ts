/** Create and Delete I/O Submission and Completion Queue (Base Specification 1.4, 5.3 to 5.6). */
import {
  COMPLETION_SHIFT,
  CompletionQueueCdw11,
  PAGE_BYTES,
  QueueCdw10,
  SUBMISSION_SHIFT,
  Sqe,
  Status,
  SubmissionQueueCdw11,
  getField,
} from '../../nvme/spec/index.js';
import type { Command } from './command.js';
import { CompletionQueue, type QueueSet, SubmissionQueue } from './queues.js';

export interface QueueLimits {
  /** Largest queue ids that were granted. */
  readonly submissionQueues: number;
  readonly completionQueues: number;
  /** Zero-based. */
  readonly mqes: number;
  /** Interrupt vectors: entries of the MSI-X table if that is on, else 1. */
  readonly vectors: number;
  /** CC.IOSQES and CC.IOCQES. */
  readonly submissionShift: number;
  readonly completionShift: number;
}

export function createCompletionQueue(queues: QueueSet, limits: QueueLimits, command: Command): number {
  const { words } = command;
  const id = getField(QueueCdw10.qid, words[Sqe.cdw10]);
  const size = getField(QueueCdw10.qsize, words[Sqe.cdw10]);
  const flags = words[Sqe.cdw11];
  const vector = getField(CompletionQueueCdw11.iv, flags);
  if (id === 0 || id > limits.completionQueues || queues.completion[id] !== undefined) return command.wrong(Sqe.cdw10, Status.invalidQueueId);
  if (size === 0 || size > limits.mqes || limits.completionShift !== COMPLETION_SHIFT) return command.wrong(Sqe.cdw10, Status.invalidQueueSize);
  if (getField(CompletionQueueCdw11.pc, flags) === 0) return command.wrong(Sqe.cdw11, Status.invalidField);
  if (vector >= limits.vectors) return command.wrong(Sqe.cdw11, Status.invalidInterruptVector);
  if ((words[Sqe.prp1Low] & (PAGE_BYTES - 1)) !== 0) return command.wrong(Sqe.prp1Low, Status.invalidPrpOffset);
  const interrupts = getField(CompletionQueueCdw11.ien, flags) !== 0;
  queues.completion[id] = new CompletionQueue(id, size + 1, interrupts ? vector : -1, words[Sqe.prp1Low], words[Sqe.prp1High]);
  queues.hadIoQueues = true;
  return Status.success;
}

export function createSubmissionQueue(queues: QueueSet, limits: QueueLimits, command: Command): number {
  const { words } = command;
  const id = getField(QueueCdw10.qid, words[Sqe.cdw10]);
  const size = getField(QueueCdw10.qsize, words[Sqe.cdw10]);
  const completionId = getField(SubmissionQueueCdw11.cqid, words[Sqe.cdw11]);
  if (id === 0 || id > limits.submissionQueues || queues.submission[id] !== undefined) return command.wrong(Sqe.cdw10, Status.invalidQueueId);
  if (size === 0 || size > limits.mqes || limits.submissionShift !== SUBMISSION_SHIFT) return command.wrong(Sqe.cdw10, Status.invalidQueueSize);
  if (completionId === 0 || completionId > limits.completionQueues) return command.wrong(Sqe.cdw11, Status.invalidQueueId);
  const completion = queues.completion[completionId];
  if (completion === undefined) return command.wrong(Sqe.cdw11, Status.invalidCompletionQueue);
  if (getField(SubmissionQueueCdw11.pc, words[Sqe.cdw11]) === 0) return command.wrong(Sqe.cdw11, Status.invalidField);
  if ((words[Sqe.prp1Low] & (PAGE_BYTES - 1)) !== 0) return command.wrong(Sqe.prp1Low, Status.invalidPrpOffset);
  queues.addSubmission(new SubmissionQueue(id, size + 1, completion, words[Sqe.prp1Low], words[Sqe.prp1High]));
  return Status.success;
}

/** @param abandon ends the commands of the queue that are outstanding, before the queue is gone */
export function deleteSubmissionQueue(queues: QueueSet, command: Command, abandon: (queue: SubmissionQueue) => void): number {
  const id = getField(QueueCdw10.qid, command.words[Sqe.cdw10]);
  const queue = id === 0 ? undefined : queues.submission[id];
  if (queue === undefined) return command.wrong(Sqe.cdw10, Status.invalidQueueId);
  abandon(queue);
  queues.removeSubmission(queue);
  return Status.success;
}

export function deleteCompletionQueue(queues: QueueSet, command: Command): number {
  const id = getField(QueueCdw10.qid, command.words[Sqe.cdw10]);
  const queue = id === 0 ? undefined : queues.completion[id];
  if (queue === undefined) return command.wrong(Sqe.cdw10, Status.invalidQueueId);
  if (queue.users > 0) return command.wrong(Sqe.cdw10, Status.invalidQueueDeletion);
  queues.completion[id] = undefined;
  return Status.success;
}
