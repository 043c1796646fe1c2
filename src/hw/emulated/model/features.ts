/** Set Features and Get Features (Base Specification 1.4, 5.13 and 5.21). Nothing can be saved. */
import {
  ALL_NAMESPACES,
  FeatureCapability,
  FeatureId,
  FeatureSelect,
  GetFeaturesCdw10,
  InterruptVectorConfiguration,
  NumberOfQueues,
  SetFeaturesCdw10,
  Sqe,
  Status,
  TemperatureThreshold,
  getField,
  putField,
} from '../../nvme/spec/index.js';
import type { Command } from './command.js';
import { EVENT_MASK, type Events } from './events.js';
import { type Health, WARNING_TEMPERATURE } from './health.js';
import type { Namespace } from './namespace.js';
import type { QueueSet } from './queues.js';
import type { ControllerShape } from './shape.js';

/** A count of queues that the specification does not allow (5.21.1.7). */
const TOO_MANY = 0xffff;
const ALL_SENSORS = 15;
const OVER = 0;
const UNDER = 1;
/** Arbitration burst of 8 commands (as a power of two), all weights zero. */
const DEFAULT_ARBITRATION = 3;
/** Arbitration burst: no limit. */
const NO_BURST_LIMIT = 7;

/** What the features are about. */
export interface FeatureTargets {
  readonly shape: ControllerShape;
  readonly namespaces: readonly Namespace[];
  readonly events: Events;
  readonly health: Health;
  readonly queues: QueueSet;
}

/** Features that are plain values of Dword 11: default, and the bits that can be set. */
const PLAIN: Readonly<Record<number, { readonly initial: number; readonly mask: number }>> = {
  [FeatureId.arbitration]: { initial: DEFAULT_ARBITRATION, mask: 0xffff_ff07 | 0 },
  [FeatureId.volatileWriteCache]: { initial: 1, mask: 0x1 },
  [FeatureId.interruptCoalescing]: { initial: 0, mask: 0xffff },
  [FeatureId.writeAtomicityNormal]: { initial: 0, mask: 0x1 },
};

export class Features {
  readonly #targets: FeatureTargets;
  readonly #plain = new Map<number, number>();
  /** Coalescing disable of each vector. */
  readonly #coalescingDisabled: Uint8Array;
  /** I/O submission and completion queues that the host was granted. */
  submissionQueues = 0;
  completionQueues = 0;
  /** Whether a write is durable only after a flush. */
  writeCache = true;

  constructor(targets: FeatureTargets) {
    this.#targets = targets;
    this.#coalescingDisabled = new Uint8Array(Math.max(1, targets.shape.vectors));
    this.reset();
  }

  reset(): void {
    for (const [id, { initial }] of Object.entries(PLAIN)) this.#setPlain(Number(id), initial);
    this.#coalescingDisabled.fill(0);
    this.submissionQueues = this.#targets.shape.queuePairs;
    this.completionQueues = this.#targets.shape.queuePairs;
    this.#targets.health.overThreshold = WARNING_TEMPERATURE;
    this.#targets.health.underThreshold = 0;
    for (const namespace of this.#targets.namespaces) namespace.errorRecovery = 0;
  }

  /** Commands of one submission queue in a row. */
  get burst(): number {
    const exponent = (this.#plain.get(FeatureId.arbitration) ?? 0) & 7;
    return exponent === NO_BURST_LIMIT ? Infinity : 1 << exponent;
  }

  #setPlain(id: number, value: number): void {
    this.#plain.set(id, value);
    if (id === FeatureId.volatileWriteCache) this.writeCache = value !== 0;
  }

  set(command: Command): number {
    const cdw10 = command.words[Sqe.cdw10];
    const value = command.words[Sqe.cdw11];
    if (getField(SetFeaturesCdw10.sv, cdw10) !== 0) return command.wrong(Sqe.cdw10, Status.featureNotSaveable);
    const id = getField(SetFeaturesCdw10.fid, cdw10);
    if (id === FeatureId.errorRecovery) return this.#setErrorRecovery(command, value);
    const namespace = command.namespace;
    if (namespace !== 0 && namespace !== ALL_NAMESPACES) return command.wrong(Sqe.nsid, Status.featureNotNamespaceSpecific);
    switch (id) {
      case FeatureId.powerManagement:
        // There is one power state, 0; the workload hint (7:5) means nothing here.
        return (value & 0x1f) === 0 ? Status.success : command.wrong(Sqe.cdw11, Status.invalidField);
      case FeatureId.temperatureThreshold:
        return this.#setTemperature(command, value);
      case FeatureId.numberOfQueues:
        return this.#setQueues(command, value);
      case FeatureId.interruptVectorConfiguration: {
        const vector = getField(InterruptVectorConfiguration.iv, value);
        if (vector >= this.#coalescingDisabled.length) return command.wrong(Sqe.cdw11, Status.invalidField);
        this.#coalescingDisabled[vector] = getField(InterruptVectorConfiguration.cd, value);
        return Status.success;
      }
      case FeatureId.asynchronousEventConfiguration:
        this.#targets.events.configuration = value & EVENT_MASK;
        return Status.success;
      default: {
        const plain = PLAIN[id];
        if (plain === undefined) return command.wrong(Sqe.cdw10, Status.invalidField);
        this.#setPlain(id, value & plain.mask);
        return Status.success;
      }
    }
  }

  get(command: Command): number {
    const cdw10 = command.words[Sqe.cdw10];
    const id = getField(GetFeaturesCdw10.fid, cdw10);
    const select = getField(GetFeaturesCdw10.sel, cdw10);
    if (select > FeatureSelect.supportedCapabilities) return command.wrong(Sqe.cdw10, Status.invalidField);
    if (id === FeatureId.errorRecovery) return this.#getErrorRecovery(command, select);
    const value = select === FeatureSelect.current ? this.#current(id, command) : this.#initial(id, command);
    if (value === undefined) return command.wrong(command.parameter === 4 * Sqe.cdw11 ? Sqe.cdw11 : Sqe.cdw10, Status.invalidField);
    command.dword0 = select === FeatureSelect.supportedCapabilities ? FeatureCapability.changeable : value;
    return Status.success;
  }

  /** Undefined for a feature that is not there, or a Dword 11 that names nothing. */
  #current(id: number, command: Command): number | undefined {
    const selector = command.words[Sqe.cdw11];
    const { health, events } = this.#targets;
    switch (id) {
      case FeatureId.powerManagement:
        return 0;
      case FeatureId.temperatureThreshold:
        return this.#threshold(command, health.overThreshold, health.underThreshold);
      case FeatureId.numberOfQueues:
        return queueCounts(this.submissionQueues, this.completionQueues);
      case FeatureId.interruptVectorConfiguration: {
        const vector = getField(InterruptVectorConfiguration.iv, selector);
        if (vector >= this.#coalescingDisabled.length) return undefined;
        return vector | putField(InterruptVectorConfiguration.cd, this.#coalescingDisabled[vector]);
      }
      case FeatureId.asynchronousEventConfiguration:
        return events.configuration;
      default:
        return this.#plain.get(id);
    }
  }

  #initial(id: number, command: Command): number | undefined {
    switch (id) {
      case FeatureId.temperatureThreshold:
        return this.#threshold(command, WARNING_TEMPERATURE, 0);
      case FeatureId.numberOfQueues:
        return queueCounts(this.#targets.shape.queuePairs, this.#targets.shape.queuePairs);
      case FeatureId.interruptVectorConfiguration: {
        const current = this.#current(id, command);
        return current === undefined ? undefined : current & 0xffff;
      }
      case FeatureId.powerManagement:
      case FeatureId.asynchronousEventConfiguration:
        return 0;
      default:
        return PLAIN[id]?.initial;
    }
  }

  /** Only the composite temperature (selector 0) has thresholds. */
  #threshold(command: Command, over: number, under: number): number | undefined {
    const selector = command.words[Sqe.cdw11];
    const kind = getField(TemperatureThreshold.thsel, selector);
    if (getField(TemperatureThreshold.tmpsel, selector) !== 0 || kind > UNDER) return undefined;
    return kind === OVER ? over : under;
  }

  #setTemperature(command: Command, value: number): number {
    const sensor = getField(TemperatureThreshold.tmpsel, value);
    const kind = getField(TemperatureThreshold.thsel, value);
    if ((sensor !== 0 && sensor !== ALL_SENSORS) || kind > UNDER) return command.wrong(Sqe.cdw11, Status.invalidField);
    const { health, events } = this.#targets;
    const before = health.warnings;
    if (kind === OVER) health.overThreshold = getField(TemperatureThreshold.tmpth, value);
    else health.underThreshold = getField(TemperatureThreshold.tmpth, value);
    events.warn(health.warnings & ~before);
    return Status.success;
  }

  /** Only before any I/O queue was created since the last reset (5.21.1.7); the answer is what there is, if that is less. */
  #setQueues(command: Command, value: number): number {
    const submission = getField(NumberOfQueues.submission, value);
    const completion = getField(NumberOfQueues.completion, value);
    if (submission === TOO_MANY || completion === TOO_MANY) return command.wrong(Sqe.cdw11, Status.invalidField);
    if (this.#targets.queues.hadIoQueues) return Status.commandSequenceError;
    const { queuePairs } = this.#targets.shape;
    this.submissionQueues = Math.min(submission + 1, queuePairs);
    this.completionQueues = Math.min(completion + 1, queuePairs);
    command.dword0 = queueCounts(this.submissionQueues, this.completionQueues);
    return Status.success;
  }

  /** Time limited error recovery is kept and means nothing here; errors for deallocated blocks are not supported. */
  #setErrorRecovery(command: Command, value: number): number {
    const targets = this.#selected(command);
    if (targets === undefined) return command.wrong(Sqe.nsid, Status.invalidNamespace);
    if ((value & 0x1_0000) !== 0) return command.wrong(Sqe.cdw11, Status.invalidField);
    for (const namespace of targets) namespace.errorRecovery = value & 0xffff;
    return Status.success;
  }

  #getErrorRecovery(command: Command, select: number): number {
    const targets = this.#selected(command);
    if (targets === undefined || targets.length !== 1) return command.wrong(Sqe.nsid, Status.invalidNamespace);
    command.dword0 = select === FeatureSelect.current ? targets[0].errorRecovery : 0;
    if (select === FeatureSelect.supportedCapabilities) command.dword0 = FeatureCapability.changeable | FeatureCapability.namespaceSpecific;
    return Status.success;
  }

  #selected(command: Command): readonly Namespace[] | undefined {
    const { namespaces } = this.#targets;
    if (command.namespace === ALL_NAMESPACES) return namespaces;
    const namespace = namespaces[command.namespace - 1];
    return namespace === undefined ? undefined : [namespace];
  }
}

function queueCounts(submission: number, completion: number): number {
  return (putField(NumberOfQueues.submission, submission - 1) | putField(NumberOfQueues.completion, completion - 1)) >>> 0;
}
