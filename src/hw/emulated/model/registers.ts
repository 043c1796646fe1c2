/** The values of the controller's registers and what writes to them keep (Base Specification 1.4, 3.1). What they cause is the controller's. */
import { ACQ, AQA, ASQ, CAP, CC, CSTS, CommandSets, INTMC, INTMS, ShutdownStatus, VS, fieldMax, getField, putField } from '../../nvme/spec/index.js';
import { VERSION } from './identify.js';
import type { ControllerShape } from './shape.js';

const CC_BITS = 0x00ff_fff1;
const ENABLED = putField(CC.fields.en, 1);
const READY = putField(CSTS.fields.rdy, 1);
const FATAL = putField(CSTS.fields.cfs, 1);
const SHUTDOWN = putField(CSTS.fields.shst, fieldMax(CSTS.fields.shst));
const SHUT_DOWN = putField(CSTS.fields.shst, ShutdownStatus.complete);
const AQA_BITS = putField(AQA.fields.asqs, 0xfff) | putField(AQA.fields.acqs, 0xfff);

export class Registers {
  readonly capLow: number;
  readonly capHigh: number;
  cc = 0;
  csts = 0;
  aqa = 0;
  asqLow = 0;
  asqHigh = 0;
  acqLow = 0;
  acqHigh = 0;
  #interruptMask = 0;

  constructor(shape: ControllerShape) {
    const { fields } = CAP;
    this.capLow =
      putField(fields.mqes, shape.mqes) | putField(fields.cqr, 1) | putField(fields.to, Math.min(shape.timeoutUnits, fieldMax(fields.to)));
    this.capHigh = putField(fields.dstrd, shape.doorbellStride) | putField(fields.css, CommandSets.nvm);
  }

  /** After a reset of the function. */
  clear(): void {
    this.cc = 0;
    this.csts = 0;
    this.aqa = 0;
    this.asqLow = 0;
    this.asqHigh = 0;
    this.acqLow = 0;
    this.acqHigh = 0;
    this.#interruptMask = 0;
  }

  get enabled(): boolean {
    return (this.cc & ENABLED) !== 0;
  }

  get ready(): boolean {
    return (this.csts & READY) !== 0;
  }

  get fatal(): boolean {
    return (this.csts & FATAL) !== 0;
  }

  /** Enabled, ready, well, and not shut down: the only state in which queues are served. */
  get serving(): boolean {
    return this.enabled && (this.csts & (READY | FATAL)) === READY && (this.csts & SHUTDOWN) !== SHUT_DOWN;
  }

  setFatal(): void {
    this.csts |= FATAL;
  }

  setReady(): void {
    this.csts |= READY;
  }

  /** One of `ShutdownStatus`. */
  get shutdownStatus(): number {
    return getField(CSTS.fields.shst, this.csts);
  }

  setShutdown(status: number): void {
    this.csts = (this.csts & ~SHUTDOWN) | putField(CSTS.fields.shst, status);
  }

  /** The 32-bit word at `offset` (a multiple of 4), for everything below the doorbells. */
  read(offset: number): number {
    switch (offset) {
      case CAP.offset:
        return this.capLow;
      case CAP.offset + 4:
        return this.capHigh;
      case VS.offset:
        return VERSION;
      case INTMS.offset:
      case INTMC.offset:
        return this.#interruptMask;
      case CC.offset:
        return this.cc;
      case CSTS.offset:
        return this.csts;
      case AQA.offset:
        return this.aqa;
      case ASQ.offset:
        return this.asqLow;
      case ASQ.offset + 4:
        return this.asqHigh;
      case ACQ.offset:
        return this.acqLow;
      case ACQ.offset + 4:
        return this.acqHigh;
      default:
        return 0;
    }
  }

  /** Keeps what may be written. */
  write(offset: number, value: number): void {
    switch (offset) {
      case INTMS.offset:
        this.#interruptMask |= value;
        break;
      case INTMC.offset:
        this.#interruptMask &= ~value;
        break;
      case CC.offset:
        this.cc = value & CC_BITS;
        break;
      case AQA.offset:
        this.aqa = value & AQA_BITS;
        break;
      case ASQ.offset:
        this.asqLow = value & ~0xfff;
        break;
      case ASQ.offset + 4:
        this.asqHigh = value;
        break;
      case ACQ.offset:
        this.acqLow = value & ~0xfff;
        break;
      case ACQ.offset + 4:
        this.acqHigh = value;
        break;
      default:
        break;
    }
  }
}
