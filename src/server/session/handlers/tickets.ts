/** Who is given tickets, and who may use them. */
import type { TicketInfo } from '../../../protocol/index.js';
import { Refusal } from '../../engine/api.js';
import type { Offer, Recipient } from '../../handover/index.js';
import type { Session } from '../session.js';

/** Whether this session is told of memory and descriptors at all. @throws {@link Refusal} `noHandover`, `overflowUser`. */
export function checkPeer({ peer, services }: Session): void {
  if (peer.transport !== 'unix' || services.tickets.path === undefined) throw new Refusal('noHandover', 'type', peer.transport);
  if (peer.uid === services.overflowUid) throw new Refusal('overflowUser', '', peer.uid);
}

export function issue(session: Session, give: Offer['give']): TicketInfo {
  const { tickets } = session.services;
  const { path } = tickets;
  if (path === undefined) throw new Refusal('noHandover');
  return { ticket: tickets.issue(session, { admits: (recipient) => isSameTenant(session, recipient), give }), path };
}

/** The second connection proves by itself that it is of the same tenant: as the session's user, if a token proved that one, or as a user of the tenant. */
function isSameTenant(session: Session, recipient: Recipient): boolean {
  const { peer, services } = session;
  if (session.ended || recipient.uid === services.overflowUid) return false;
  if (session.credentials.token !== undefined) return recipient.uid === peer.uid;
  return services.directory().authenticate({ peer: recipient, tenant: session.tenantName }) !== undefined;
}

/** Users that could undo what is done to a file, or do the same to this process. */
export const isPrivileged = (uid: number | undefined): boolean => uid === 0 || uid === process.getuid?.();
