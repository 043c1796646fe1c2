/** Where clients connect. */
export type { Listener } from './listener.js';
export { type TcpOptions, listenTcp } from './tcp.js';
export { type UnixOptions, listenUnix } from './unix.js';
export type { ConnectionSink } from './upgrade.js';
