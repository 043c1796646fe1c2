/** Asynchronous events of the controller: the administrator hears of all, a tenant of those about its own namespaces. */
import { EventType, NoticeEvent } from '../../hw/nvme/index.js';
import type { Task } from '../../hw/task.js';
import type { EnginePost } from './control.js';
import type { Device } from './device.js';

const TYPE_NAMES: Readonly<Record<number, string>> = { [EventType.error]: 'error', [EventType.smart]: 'SMART', [EventType.notice]: 'notice' };

/** Handles one event; reading its log page lets the controller report the next one of its kind. */
export function* handleControllerEvent(device: Device, post: EnginePost, type: number, information: number): Task<void> {
  post.log('warn', 'event of the controller', { type: TYPE_NAMES[type] ?? String(type), information });
  if (type === EventType.smart) {
    yield* device.driver.logPage('smart');
  } else if (type === EventType.error) {
    yield* device.driver.logPage('error');
  } else if (type === EventType.notice && information === NoticeEvent.namespaceAttributeChanged) {
    const changed = new DataView((yield* device.driver.logPage('changedNamespaces')).buffer);
    for (let at = 0; at < changed.byteLength && changed.getUint32(at, true) !== 0; at += 4) tellHolders(device, post, changed.getUint32(at, true));
  }
}

function tellHolders(device: Device, post: EnginePost, namespace: number): void {
  for (const lease of device.leases.values()) {
    lease.windows.forEach((window, share) => {
      if (window.namespace === namespace || namespace === 0xffff_ffff) post.event('namespaceChanged', [lease.handle, share]);
    });
  }
}
