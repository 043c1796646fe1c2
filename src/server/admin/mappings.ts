/** From a mapping of a process to the memory of this server that it is (R38). */
import type { MappingReport } from '../handover/index.js';
import { systemCode } from '../text.js';
import { AdminRefusal } from './refusal.js';
import type { AdminSources } from './sources.js';

/** The memory files that a process maps. @throws AdminRefusal */
export async function mappingsOf(sources: AdminSources, process: string): Promise<readonly MappingReport[]> {
  if (!/^[1-9]\d{0,9}$/.test(process)) throw new AdminRefusal(404, `"${process}" is no process id`, 'give the number that ps(1) shows');
  try {
    return await sources.mappings(Number(process));
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ESRCH') throw new AdminRefusal(404, `there is no process ${process}`, 'see ps(1)');
    if (code !== 'EACCES' && code !== 'EPERM') throw error;
    throw new AdminRefusal(409, `the server may not look into process ${process}`, 'run the server as root, or with CAP_SYS_PTRACE');
  }
}

/** The one at an address, hexadecimal as in proc(5). @throws AdminRefusal */
export async function mappingAt(sources: AdminSources, process: string, address: string): Promise<MappingReport> {
  const digits = /^(?:0x)?([0-9a-f]{1,16})$/i.exec(address)?.[1];
  if (digits === undefined) throw new AdminRefusal(404, `"${address}" is no address`, 'give it in hexadecimal, as /proc/PID/maps does');
  const at = BigInt(`0x${digits}`);
  const found = (await mappingsOf(sources, process)).find(({ start, end }) => BigInt(`0x${start}`) <= at && at < BigInt(`0x${end}`));
  if (found !== undefined) return found;
  throw new AdminRefusal(404, `process ${process} maps no memory file at ${address}`, `see what it maps with "ringwarden mappings ${process}"`);
}
