/** Sessions: what a connected client may do, and what becomes of it. */
export type { Connection, Peer } from './connection.js';
export { Gate, type Ticket } from './gate.js';
export { SessionManager, type SessionManagerOptions, type SessionStatus } from './manager.js';
