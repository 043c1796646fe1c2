/** What the administrator does about a device that does not work. */
import type { DeviceReport } from '../engine/api.js';

/** Empty for a device that works. */
export function deviceRemedy(report: DeviceReport | undefined): string {
  if (report === undefined) return 'see the log of the server; restart the server if the device stays silent';
  if (report.state !== 'lost') return '';
  return 'the server opens it again as soon as it is there; see the log of the server if it stays lost';
}
