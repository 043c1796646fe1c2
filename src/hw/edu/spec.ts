/** QEMU's teaching device (QEMU, docs/specs/edu.rst). Registers of BAR 0, offsets in bytes. */

export const EDU_VENDOR_ID = 0x1234;
export const EDU_DEVICE_ID = 0x11e8;
export const REGISTERS_BAR = 0;

export const Register = {
  /** Reads {@link EDU_IDENTIFICATION} in the low bits, the version above. */
  identification: 0x00,
  /** Reads the inverse of what was written. */
  liveness: 0x04,
  /** A number, and, once {@link Status}.computing is off, its factorial. */
  factorial: 0x08,
  status: 0x20,
  /** Why an interrupt is raised: what was written to `interruptRaise`, {@link Interrupt}; until it is written to `interruptAcknowledge`. */
  interruptStatus: 0x24,
  interruptRaise: 0x60,
  interruptAcknowledge: 0x64,
  /** 64 bits each. Bus addresses, or places in the device's buffer; bytes. */
  dmaSource: 0x80,
  dmaDestination: 0x88,
  dmaCount: 0x90,
  dmaCommand: 0x98,
} as const;

/** The identification without the version: 0x010000ed says version 1.0. */
export const EDU_IDENTIFICATION = 0xed;
export const IDENTIFICATION_MASK = 0xff;

export const Status = { computing: 0x01, interrupt: 0x80 } as const;
export const DmaCommand = { start: 0x1, fromDevice: 0x2, interrupt: 0x4 } as const;
export const Interrupt = { factorial: 0x001, dma: 0x100 } as const;

/** The device's buffer, as DMA names it. */
export const BUFFER_ADDRESS = 0x4_0000;
const BUFFER_BYTES = 4096;
/** Most bytes of one transfer. QEMU's model takes a transfer that reaches the end of the buffer for one beyond it, and ends itself. */
export const MAX_TRANSFER_BYTES = BUFFER_BYTES - 4;
/** A factorial that fits into 32 bits. */
export const MAX_FACTORIAL = 12;
