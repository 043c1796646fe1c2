/** What an engine does for each method of the control port. Every one is a task. */
import { Code } from '../../protocol/index.js';
import type { DmaMemory } from '../../hw/backing.js';
import type { ShownFile } from '../../hw/dma/index.js';
import { COMPLETION_BYTES, SUBMISSION_BYTES } from '../../hw/nvme/index.js';
import { HardwareError, type Task } from '../../hw/task.js';
import { shm } from '../../native/shm.js';
import { attachRegion } from './attach-region.js';
import { Refusal, type Rates, type ShownRing } from './api.js';
import type { EngineMethods } from './control.js';
import { TenantStatistics } from './counters.js';
import type { Engine } from './engine.js';
import type { Lease } from './lease.js';
import { TenantState } from './tenant-state.js';
import { wipeWindow } from './wipe.js';

export type Methods = { [Name in keyof EngineMethods]: (...args: Parameters<EngineMethods[Name]>) => Task<ReturnType<EngineMethods[Name]>> };

/** How long memory may be held by the device after its region was taken away by force, before the controller is reset. */
const QUARANTINE_MS = 10_000;

export function createMethods(engine: Engine): Methods {
  const { device, clock } = engine;
  const tenants = new Map<number, TenantState>();
  /** Memory that is on its way out. */
  const leaving = new Set<DmaMemory>();

  const tenantOf = (index: number, name: string, weight: number, rates: { operations: number; bytes: number }, memory: SharedArrayBuffer) => {
    let tenant = tenants.get(index);
    if (tenant === undefined || tenant.name !== name) {
      tenant = new TenantState(index, name, weight, rates, new TenantStatistics(memory));
      tenants.set(index, tenant);
    }
    adjust(tenant, weight, rates);
    return tenant;
  };

  const adjust = (tenant: TenantState, weight: number, rates: Rates): void => {
    engine.scheduler.setWeight(tenant, weight);
    tenant.operations.rate = rates.operations;
    tenant.bytes.rate = rates.bytes;
  };

  /** Queues of leases that are gone. */
  const forgetChannels = (): void => {
    engine.channels.forEach((queue, channel) => {
      if (queue !== undefined && !device.leases.has(queue.lease)) engine.channels[channel] = undefined;
    });
  };

  /** Nothing of it is left: its vectors first, so that nobody is told of what ends with it. */
  const endLease = function* (handle: number, code: number): Task<void> {
    engine.interrupts.release(handle);
    yield* device.closeLease(handle, code);
    forgetChannels();
    device.announceFree();
  };

  const leaseWith = (handle: number, vector: number): Lease => {
    const lease = device.lease(handle);
    // What it binds now nobody would release.
    if (lease.closing) throw new Refusal('leaseNotActive', 'lease', handle);
    if (!(Number.isInteger(vector) && vector >= 0 && vector < device.vectorsOf(lease))) throw new Refusal('unknownVector', 'vector', vector);
    return lease;
  };

  return {
    *openLease(request, statistics) {
      const tenant = tenantOf(request.tenant, request.tenantName, request.weight, request.rates, statistics);
      return yield* device.openLease(request, tenant);
    },

    *closeLease(handle) {
      yield* endLease(handle, Code.aborted);
    },

    *openQueue(lease, channel, memory, tagSeed) {
      const queue = yield* device.openQueue(lease, channel, memory, tagSeed);
      engine.channels[channel] = queue;
      const entries = queue.pair?.entries ?? 0;
      return {
        queue: queue.queue,
        vector: queue.queue,
        hardware: {
          kind: queue.owner.kind,
          submissionEntries: entries,
          submissionBytes: SUBMISSION_BYTES,
          completionEntries: entries,
          completionBytes: COMPLETION_BYTES,
        },
      };
    },

    *closeQueue(lease, index) {
      const queue = device.queue(device.lease(lease), index);
      yield* device.closeQueue(lease, index);
      engine.channels[queue.channel] = undefined;
    },

    *shareQueue(lease, index, files) {
      engine.shareQueue(device.queue(device.lease(lease), index), files);
    },

    *hardwareView(handle, index) {
      const lease = device.lease(handle);
      const { pair } = device.queue(lease, index);
      if (!lease.active) throw new Refusal('leaseNotActive', 'lease', handle);
      if (pair?.view === undefined) throw new Refusal('noRingView', 'queue', index);
      const { submissionFile, completionFile } = pair.view;
      const submission = openRing(submissionFile, pair.entries, SUBMISSION_BYTES);
      try {
        return { generation: lease.generation, submission, completion: openRing(completionFile, pair.entries, COMPLETION_BYTES) };
      } catch (error) {
        shm().close(submission.fd);
        throw error;
      }
    },

    *resetLease(lease) {
      return yield* device.resetLease(lease, 'asked for');
    },

    *bindVector(handle, vector, enable) {
      engine.interrupts.tellSession(leaseWith(handle, vector), vector, enable);
    },

    *bindVectorSignal(handle, vector, signal) {
      engine.interrupts.raise(leaseWith(handle, vector), vector, signal);
    },

    *vectorState(handle, vector) {
      return engine.interrupts.state(leaseWith(handle, vector), vector);
    },

    *readPciConfig(lease, offset, width) {
      return yield* engine.pci.readConfig(device.lease(lease), offset, width);
    },

    *writePciConfig(lease, offset, width, value) {
      return yield* engine.pci.writeConfig(device.lease(lease), offset, width, value);
    },

    *listPciRegions(lease) {
      return yield* engine.pci.regions(device.lease(lease));
    },

    *readPciRegister(lease, bar, offset, width) {
      return yield* engine.pci.readRegister(device.lease(lease), bar, offset, width);
    },

    *readPciRom(lease, offset, length) {
      return yield* engine.pci.readRom(device.lease(lease), offset, length);
    },

    *replaceGrant(lease, shares) {
      if (shares.length > 0) {
        yield* device.replaceGrant(lease, shares);
        return;
      }
      engine.post.event('revoked', [lease, 'the grant was taken away']);
      yield* endLease(lease, Code.revoked);
    },

    *setTenant(index, weight, rates) {
      const tenant = tenants.get(index);
      if (tenant !== undefined) adjust(tenant, weight, rates);
    },

    *attachRegion(domainId, handle, fd, bytes, owner, use, dma) {
      yield* attachRegion(engine.backing, () => device.domain(domainId), { handle, fd, bytes, owner, use, dma });
    },

    *holdRegion(domainId, handle, held) {
      const domain = device.domains.get(domainId);
      if (domain === undefined) return;
      if (domain.inFlight(handle & 0xffff) > 0) throw new Refusal('regionBusy', 'region', handle);
      if (held) domain.hold(handle);
      else domain.release(handle);
    },

    *detachRegion(domainId, handle, force) {
      const domain = device.domains.get(domainId);
      const slot = handle & 0xffff;
      const memory = domain?.find(handle);
      if (domain === undefined || memory === undefined) return;
      if (!force && domain.inFlight(slot) > 0) throw new Refusal('regionBusy', 'region', handle);
      domain.close(handle);
      // Whoever asks a second time waits for the first to be done with it, well or not.
      while (leaving.has(memory)) yield 1;
      if (domain.find(handle) !== memory) return;
      leaving.add(memory);
      try {
        const deadline = clock() + QUARANTINE_MS;
        while (domain.inFlight(slot) > 0) {
          if (clock() > deadline) yield* device.resetController('memory of an ended lease is still in use');
          yield 1;
        }
        yield* engine.backing.detach(memory);
        domain.remove(handle);
      } finally {
        leaving.delete(memory);
      }
      device.dropDomain(domainId);
      device.announceFree();
    },

    *regionInFlight(domain, handle) {
      return device.domains.get(domain)?.inFlight(handle & 0xffff) ?? 0;
    },

    *report() {
      return device.report();
    },

    *wipe(namespace, firstBlock, blocks, progress = () => {}) {
      yield* wipeWindow(device, clock, namespace, firstBlock, blocks, progress);
    },

    *logPage(page) {
      return yield* device.withOpen(() => engine.driver.logPage(page));
    },

    *resetController(reason) {
      if (device.state !== 'open') throw new HardwareError('absent', `the device is ${device.state}`);
      yield* device.resetController(reason);
    },

    *inspect() {
      return engine.inspect();
    },

    *close(milliseconds) {
      const deadline = clock() + milliseconds;
      while (device.commandsInFlight() > 0 && clock() < deadline) yield 1;
      for (const lease of device.leases.keys()) yield* endLease(lease, Code.aborted);
      engine.stopped = true;
    },
  };
}

function openRing(file: ShownFile, entries: number, entryBytes: number): ShownRing {
  return { fd: file.open(), bytes: file.bytes, entries, entryBytes };
}
