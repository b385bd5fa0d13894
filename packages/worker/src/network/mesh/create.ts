import { ClusterError, messageOf } from '@swarmctl/shared/kit';
import { formatIp, parseIp } from '@swarmctl/shared/model';
import { isLoopback } from '../address.ts';
import { runCommand } from '../command.ts';
import type { Ingress, MeshOptions } from '../types.ts';
import { KernelMesh, type MeshModules, removeMesh } from './mesh.ts';

// Whether a node has an end of the mesh, and removes what an earlier daemon left where it has none.

export type MeshKind = 'auto' | 'off';

export async function createMesh(
  kind: MeshKind,
  options: MeshOptions & { readonly ingress: Ingress['kind'] },
  modules: MeshModules,
): Promise<KernelMesh | undefined> {
  const { log, run = runCommand } = modules;
  const why = kind === 'off' ? 'it is off' : await whyNoMesh(options, run);
  const ip = parseIp(options.dataPathAddr);
  if (why === undefined && ip) return KernelMesh.open({ ...options, dataPathAddr: formatIp(ip) }, modules);
  log.info({ reason: why }, 'no mesh: tasks of other nodes are reached by the ports that those publish, masqueraded');
  if (process.getuid?.() === 0) await removeMesh(options, run).catch(() => undefined);
  return undefined;
}

async function whyNoMesh(
  { ingress, dataPathAddr }: Parameters<typeof createMesh>[1],
  run: NonNullable<MeshModules['run']>,
): Promise<string | undefined> {
  if (ingress !== 'nftables') return `the ingress is ${ingress}, and the mesh is for nftables`;
  if (isLoopback(dataPathAddr)) return `${dataPathAddr} is a loopback address`;
  if (!parseIp(dataPathAddr)) return `${dataPathAddr} is no IP address; --data-path-addr names one`;
  if (process.getuid?.() !== 0) return 'swarmd does not run as root';
  for (const tool of ['ip', 'bridge']) {
    try {
      const { code, stderr } = await run(tool, ['-V']);
      if (code !== 0) throw new ClusterError('unavailable', stderr);
    } catch (error) {
      return `${tool} cannot be used: ${messageOf(error)}`;
    }
  }
  return undefined;
}
