/** Memory handed over to clients: tickets, the socket that carries descriptors, the files of shared queues, and who was given what. */
export { type FileFacts, HandedOver, type HandedOverFile, type MappingReport, type ProcessMapping, readMappings } from './handed-over.js';
export { listenDescriptors } from './listener.js';
export { QueueFiles } from './queue-files.js';
export { type Gift, type Offer, type Recipient, Tickets, type Visit } from './tickets.js';
