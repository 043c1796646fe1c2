/** Memory handed over to clients: tickets, the socket that carries descriptors, and the files of shared queues. */
export { listenDescriptors } from './listener.js';
export { QueueFiles } from './queue-files.js';
export { type Gift, type Offer, type Recipient, Tickets } from './tickets.js';
