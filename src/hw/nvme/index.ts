/** NVMe: the driver and what the engine needs of it. */
export { NvmeDriver, type LogPage, type NvmeFacts, type NvmeOptions } from './driver.js';
export { submitDeallocate, submitFlush, submitTransfer, submitWriteZeroes } from './io.js';
export { NVME_REGIONS } from './regions.js';
export { QueuePair, type CompletionSink } from './queue-pair.js';
export { ringViewBytes } from './ring-view.js';
export { COMPLETION_BYTES, EventType, NoticeEvent, NvmOpcode, SUBMISSION_BYTES, Status } from './spec/index.js';
