/** Who is there, and in which domain: hello, ping, setDomain, unsetDomain. */
import { PROTOCOL_VERSION } from '../../../protocol/index.js';
import { Refusal } from '../../engine/api.js';
import type { Credentials } from '../../policy.js';
import { describeLimits } from '../describe.js';
import type { Handler } from './handler.js';

export const hello: Handler<'hello'> = {
  needs: 'nothing',
  isNewWork: true,
  handle(session, { version, tenant: name, token, client }) {
    const { services, peer } = session;
    if (version !== PROTOCOL_VERSION) throw new Refusal('wrongVersion', 'version', version);
    const credentials: Credentials = {
      ...(peer.uid === undefined || peer.gid === undefined ? {} : { peer: { uid: peer.uid, gid: peer.gid } }),
      ...(token === undefined ? {} : { token }),
      ...(name === undefined ? {} : { tenant: name }),
    };
    const proved = services.directory().authenticate(credentials);
    if (proved === undefined) throw new Refusal('authenticationFailed', name === undefined ? '' : 'tenant', name ?? '');
    const { tenant, isolation } = proved;
    services.checkSessionLimit(tenant.name, tenant.limits.sessions);
    session.authenticate(tenant, isolation, credentials, client ?? '');
    return { session: session.number, tenant: tenant.name, server: services.serverVersion, isolation, limits: describeLimits(tenant) };
  },
};

export const ping: Handler<'ping'> = { needs: 'nothing', isNewWork: false, handle: () => ({}) };

export const setDomain: Handler<'setDomain'> = {
  needs: 'nothing',
  isNewWork: true,
  handle(session, { domain: number }) {
    if (session.domain !== undefined) throw new Refusal('domainSet', 'domain', session.domain.number);
    const { domains } = session.services;
    const tenant = session.tenant;
    const domain = number === undefined ? domains.create(tenant.name, tenant.dma) : domains.find(tenant.name, number);
    session.enterDomain(domain);
    return { domain: domain.number, pinLimit: tenant.limits.pinBytes };
  },
};

export const unsetDomain: Handler<'unsetDomain'> = {
  needs: 'domain',
  isNewWork: false,
  async handle(session) {
    await session.leaveDomain('the domain was unset');
    return {};
  },
};
