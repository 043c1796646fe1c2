/**
 * Names of the statuses that an NVMe controller reports, as the specifications write them (Base Specification 2.0, 3.3.3.2.1, figures
 * "Status Code - Generic Command Status Values" and following; NVM Command Set Specification, "Status Codes").
 */

/** Status code types (SCT, bits 10:8 of the status). */
const TYPES: Readonly<Record<number, string>> = {
  0: 'Generic Command Status',
  1: 'Command Specific Status',
  2: 'Media and Data Integrity Errors',
  3: 'Path Related Status',
  7: 'Vendor Specific',
};

/** Status codes by `type << 8 | code`: those that a command for I/O can end with. */
const STATUSES: Readonly<Record<number, string>> = {
  0x000: 'Successful Completion',
  0x001: 'Invalid Command Opcode',
  0x002: 'Invalid Field in Command',
  0x003: 'Command ID Conflict',
  0x004: 'Data Transfer Error',
  0x005: 'Commands Aborted due to Power Loss Notification',
  0x006: 'Internal Error',
  0x007: 'Command Abort Requested',
  0x008: 'Command Aborted due to SQ Deletion',
  0x009: 'Command Aborted due to Failed Fused Command',
  0x00a: 'Command Aborted due to Missing Fused Command',
  0x00b: 'Invalid Namespace or Format',
  0x00c: 'Command Sequence Error',
  0x00d: 'Invalid SGL Segment Descriptor',
  0x00e: 'Invalid Number of SGL Descriptors',
  0x00f: 'Data SGL Length Invalid',
  0x010: 'Metadata SGL Length Invalid',
  0x011: 'SGL Descriptor Type Invalid',
  0x012: 'Invalid Use of Controller Memory Buffer',
  0x013: 'PRP Offset Invalid',
  0x014: 'Atomic Write Unit Exceeded',
  0x015: 'Operation Denied',
  0x016: 'SGL Offset Invalid',
  0x018: 'Host Identifier Inconsistent Format',
  0x019: 'Keep Alive Timer Expired',
  0x01a: 'Keep Alive Timeout Invalid',
  0x01b: 'Command Aborted due to Preempt and Abort',
  0x01c: 'Sanitize Failed',
  0x01d: 'Sanitize In Progress',
  0x01e: 'SGL Data Block Granularity Invalid',
  0x01f: 'Command Not Supported for Queue in CMB',
  0x020: 'Namespace is Write Protected',
  0x021: 'Command Interrupted',
  0x022: 'Transient Transport Error',
  0x023: 'Command Prohibited by Command and Feature Lockdown',
  0x024: 'Admin Command Media Not Ready',
  0x080: 'LBA Out of Range',
  0x081: 'Capacity Exceeded',
  0x082: 'Namespace Not Ready',
  0x083: 'Reservation Conflict',
  0x084: 'Format In Progress',
  0x085: 'Invalid Value Size',
  0x086: 'Invalid Key Size',
  0x087: 'KV Key Does Not Exist',
  0x088: 'Unrecovered Error',
  0x089: 'Key Exists',
  0x180: 'Conflicting Attributes',
  0x181: 'Invalid Protection Information',
  0x182: 'Attempted Write to Read Only Range',
  0x183: 'Command Size Limit Exceeded',
  0x280: 'Write Fault',
  0x281: 'Unrecovered Read Error',
  0x282: 'End-to-end Guard Check Error',
  0x283: 'End-to-end Application Tag Check Error',
  0x284: 'End-to-end Reference Tag Check Error',
  0x285: 'Compare Failure',
  0x286: 'Access Denied',
  0x287: 'Deallocated or Unwritten Logical Block',
  0x288: 'End-to-end Storage Tag Check Error',
  0x300: 'Internal Path Error',
  0x301: 'Asymmetric Access Persistent Loss',
  0x302: 'Asymmetric Access Inaccessible',
  0x303: 'Asymmetric Access Transition',
  0x360: 'Controller Pathing Error',
  0x370: 'Host Pathing Error',
  0x371: 'Command Aborted By Host',
};

const hex = (value: number): string => `0x${value.toString(16).padStart(2, '0')}`;

/** The name of a status code type, for example `Media and Data Integrity Errors`. */
export const statusTypeName = (type: number): string => TYPES[type] ?? `Reserved (${hex(type)})`;

/** The name of a status of 11 bits (`type << 8 | code`), or its code in hexadecimal where the specifications give none. */
export const statusName = (status: number): string => STATUSES[status] ?? `status code ${hex(status & 0xff)}`;
