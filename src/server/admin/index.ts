/** Administration: the admin socket, metrics, and the audit of refusals. */
export { AuditLog } from './audit.js';
export { AdminServer } from './server.js';
export { SocketInUse, requireFreeSocket } from '../socket-file.js';
export type { AdminSources, ReloadResult, SessionReport, WipeReport } from './sources.js';
export { accessOf, operationsOf } from './views.js';
