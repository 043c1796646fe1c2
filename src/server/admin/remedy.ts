/** What the administrator does about a device that does not work. */
import type { DeviceSnapshot } from './snapshot.js';

/** Empty for a device that works. */
export function deviceRemedy({ engine: { facts }, report }: Pick<DeviceSnapshot, 'engine' | 'report'>): string {
  if (report === undefined) return 'see the log of the server; restart the server if the device stays silent';
  if (report.state !== 'lost') return '';
  // The memory of its guest died with QEMU, and with it every region: nothing could go on where it was.
  if (facts.backing === 'qemu') return 'restart the server: only that starts QEMU again';
  return 'the server opens it again as soon as it answers; restart the server if it stays lost';
}
