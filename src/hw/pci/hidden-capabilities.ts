/** The capabilities that no tenant sees, each with the reason. The list that a tenant walks goes around them. */
import { CapabilityId } from './spec.js';

/** Why a capability is hidden, for the administrator. */
export interface HiddenCapability {
  readonly name: string;
  readonly why: string;
}

const UNKNOWN: HiddenCapability = { name: 'unknown', why: 'what it does is not known here' };

/** Capabilities that are hidden on purpose, by id (PCI Code and ID Assignment 1.11, 2). */
const HIDDEN: ReadonlyMap<number, HiddenCapability> = new Map([
  [0x02, { name: 'AGP', why: 'it places an aperture on the bus' }],
  [0x03, { name: 'vital product data', why: 'it has serial numbers, and can be written for good' }],
  [0x04, { name: 'slot identification', why: 'it tells of the machine' }],
  [0x06, { name: 'hot swap', why: "the slot is the host's" }],
  [0x08, { name: 'HyperTransport', why: 'it maps addresses' }],
  [CapabilityId.vendor, { name: 'vendor-specific', why: "what it does is the vendor's secret" }],
  [0x0a, { name: 'debug port', why: 'it is a way in' }],
  [0x12, { name: 'SATA index and data', why: 'it reaches registers of a BAR' }],
  [0x13, { name: 'advanced features', why: 'it resets the function for everybody' }],
  [0x14, { name: 'enhanced allocation', why: 'it has bus addresses' }],
]);

export const hiddenCapability = (id: number): HiddenCapability => HIDDEN.get(id) ?? UNKNOWN;

/** How an extended capability is shown: not at all, or as one whose registers are all zero and take no writes. */
export interface ExtendedTreatment extends HiddenCapability {
  readonly treatment: 'hidden' | 'zero';
}

const hidden = (name: string, why: string): ExtendedTreatment => ({ treatment: 'hidden', name, why });
const zero = (name: string, why: string): ExtendedTreatment => ({ treatment: 'zero', name, why });

/** Extended capabilities, by id (PCI Code and ID Assignment 1.11, 3). */
const EXTENDED_TREATMENTS: ReadonlyMap<number, ExtendedTreatment> = new Map([
  [0x0001, zero('advanced error reporting', "its logs hold headers of others' transactions; whoever looks finds no errors")],
  [0x0002, hidden('virtual channel', 'it moves traffic of everybody')],
  [0x0003, hidden('device serial number', 'it tells which piece of hardware this is')],
  [0x0004, hidden('power budgeting', "power is the host's")],
  [0x0009, hidden('virtual channel', 'it moves traffic of everybody')],
  [0x000b, hidden('vendor-specific', "what it does is the vendor's secret")],
  [0x000d, hidden('access control services', 'it decides about peer-to-peer DMA')],
  [0x000e, hidden('alternative routing', "other functions are not the tenant's")],
  [0x000f, hidden('address translation services', 'it makes bus addresses')],
  [0x0010, hidden('single-root virtualization', 'it makes functions')],
  [0x0011, hidden('multi-root virtualization', 'it makes functions')],
  [0x0012, hidden('multicast', 'it has bus addresses')],
  [0x0013, hidden('page request', 'it asks for pages by bus address')],
  [0x0015, hidden('resizable BAR', 'it resizes BARs')],
  [0x0016, hidden('dynamic power allocation', "power is the host's")],
  [0x0017, hidden('transaction processing hints', 'it steers writes into caches that others use')],
  [0x0018, zero('latency tolerance reporting', "what latency the platform may have is the host's; zero says that nothing is asked for")],
  [0x0019, hidden('secondary PCI Express', "the link is the host's")],
  [0x001b, hidden('process address spaces', "they are the host's")],
  [0x001d, hidden('downstream port containment', "the link is the host's")],
  [0x001e, hidden('L1 power states', "the link is the host's")],
  [0x001f, hidden('precision time', 'it is a clock of the host')],
  [0x0023, hidden('designated vendor-specific', "what it does is the vendor's secret")],
  [0x0024, hidden('virtual resizable BAR', 'it resizes BARs')],
  [0x0025, hidden('data link features', "the link is the host's")],
  [0x002a, hidden('virtual functions 2.0', 'it makes functions')],
  [0x002e, hidden('data object exchange', 'it is a mailbox into the device')],
]);

export const extendedTreatment = (id: number): ExtendedTreatment => EXTENDED_TREATMENTS.get(id) ?? { treatment: 'hidden', ...UNKNOWN };
