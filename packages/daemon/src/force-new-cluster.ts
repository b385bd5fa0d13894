import { type ManagerHandle, newRaftId, recoverCluster } from '@swarmctl/manager';
import { type Clock, ClusterError, type Random } from '@swarmctl/shared/kit';
import type { InitRequest } from '@swarmctl/shared/model';
import { VaultSealer } from './sealer.ts';
import { type NodeFile, nextRaftDir, raftDir, settleRaft, writeNodeFile } from './state-file.ts';
import type { Vault } from './vault.ts';

// `swarm init --force-new-cluster`: a manager whose fellows are lost goes on alone, with all that it knows.

/** Throws for what such a request cannot change, and `failed-precondition` while nothing is lost. */
export async function checkForced(request: InitRequest, manager: ManagerHandle): Promise<void> {
  refuseSettings(request);
  const managers = manager
    .view()
    .list('nodes')
    .filter((node) => node.ManagerStatus);
  if (managers.length <= 1) return;
  const hasQuorum = await manager.readIndex().then(
    () => true,
    () => false,
  );
  if (!hasQuorum) return;
  throw new ClusterError(
    'failed-precondition',
    'the managers of this swarm have a quorum, and a new cluster would throw the others out: use "node demote" to have fewer managers',
  );
}

const isSet = (value: unknown): boolean =>
  typeof value === 'object' && value !== null ? Object.values(value).some(isSet) : Boolean(value);

/** Clients send some that say what is so anyway. */
function refuseSettings(request: InitRequest): void {
  const { Spec, DefaultAddrPool, DataPathPort, AutoLockManagers, SubnetSize, Availability } = request;
  const given = {
    ...{ Spec, DefaultAddrPool, DataPathPort, AutoLockManagers },
    SubnetSize: SubnetSize !== 24 && SubnetSize,
    Availability: Availability !== 'active' && Availability,
  };
  const [name] = Object.entries(given).find(([, value]) => isSet(value)) ?? [];
  if (name === undefined) return;
  throw new ClusterError(
    'invalid-argument',
    `ForceNewCluster keeps the swarm and this node as they are, so ${name} cannot be given with it: change it afterwards`,
  );
}

/**
 * Of a manager that is stopped. When it rejects, or is killed, nothing has happened; when it resolves, or is killed in the very end, the node is found as
 * the only manager of its cluster at its next start.
 */
export async function goOnAlone(
  dataDir: string,
  file: NodeFile,
  modules: { readonly vault: Vault; readonly random: Random; readonly clock: Clock },
): Promise<void> {
  const { vault, random, clock } = modules;
  const { nodeId, advertiseAddr: addr } = file;
  if (file.raftId === undefined || !file.raftStarted)
    throw new ClusterError(
      'failed-precondition',
      'this manager has not received the state of the swarm: use another one',
    );
  settleRaft(dataDir, file.raftId);
  const from = { dir: raftDir(dataDir), id: file.raftId };
  const raftId = newRaftId(random);
  const to = { dir: nextRaftDir(dataDir, raftId), id: raftId };
  await recoverCluster({ nodeId, addr, from, to }, { sealer: new VaultSealer(vault), random, clock });
  writeNodeFile(dataDir, { ...file, role: 'manager', raftId, raftStarted: true, managers: [{ nodeId, addr }] });
}
