import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ClusterError, checkIdentity, type Identity, messageOf } from '@swarmctl/shared/kit';
import type { NodeRole } from '@swarmctl/shared/model';
import type { Peer } from '@swarmctl/shared/wire';
import { readIfThere, writeFileAtomically } from './files.ts';
import type { Vault } from './vault.ts';

// What a node must know of itself after a restart: its identity (certificate, key, root) and its place in the cluster.

export interface NodeFile {
  readonly version: 1;
  readonly nodeId: string;
  readonly clusterId: string;
  readonly role: NodeRole;
  /** `host:port` to listen on as a manager. */
  readonly listenAddr: string;
  /** `host:port` where others reach this node. */
  readonly advertiseAddr: string;
  /** Managers as last heard, the likeliest leader first. */
  readonly managers: readonly Peer[];
  /** Of this node in the raft group; kept until it leaves the group. */
  readonly raftId?: number;
  /** The raft log was begun: without it this member must not come back, as it may have voted. */
  readonly raftStarted?: boolean;
}

const paths = (dataDir: string) => ({
  state: join(dataDir, 'state.json'),
  certificate: join(dataDir, 'identity', 'cert.pem'),
  ca: join(dataDir, 'identity', 'ca.pem'),
});

export function writeNodeFile(dataDir: string, file: NodeFile): void {
  writeFileAtomically(paths(dataDir).state, `${JSON.stringify(file, null, 2)}\n`);
}

export function writeIdentity(
  dataDir: string,
  vault: Vault,
  identity: Pick<Identity, 'certificate' | 'key' | 'ca'>,
): void {
  const { certificate, ca } = paths(dataDir);
  // One file holds key and certificate, so that a crash between two writes cannot part them; the others are for people.
  writeFileAtomically(ca, identity.ca);
  writeFileAtomically(certificate, identity.certificate);
  vault.writeIdentity(`${identity.key.trimEnd()}\n${identity.certificate}`);
}

export const isInCluster = (dataDir: string): boolean => existsSync(paths(dataDir).state);

/** Undefined when this node belongs to no cluster; throws ClusterError when its files are damaged, or its vault is locked. */
export function readNode(
  dataDir: string,
  vault: Vault,
): { readonly file: NodeFile; readonly identity: Identity } | undefined {
  const path = paths(dataDir);
  const text = readIfThere(path.state);
  if (text === undefined) return undefined;
  try {
    const file = parseNodeFile(text);
    if (file.version !== 1) throw new Error(`it has version ${file.version}, this swarmd reads version 1`);
    const [bundle, ca] = [vault.readIdentity(), readIfThere(path.ca)];
    if (bundle === undefined || ca === undefined) throw new Error('the identity is missing');
    const at = bundle.indexOf('-----BEGIN CERTIFICATE-----');
    const [key, certificate] = [bundle.slice(0, at), bundle.slice(at)];
    const { nodeId, clusterId, role } = checkIdentity({ certificate, key, ca });
    if (nodeId !== file.nodeId || clusterId !== file.clusterId) throw new Error('the certificate is of another node');
    return { file, identity: { nodeId, clusterId, role, certificate, key, ca } };
  } catch (error) {
    throw new ClusterError('internal', `the state of this node in ${dataDir} cannot be read: ${messageOf(error)}`);
  }
}

function parseNodeFile(text: string): NodeFile {
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch (error) {
    throw new Error(`state.json is damaged: ${messageOf(error)}`);
  }
  if (typeof file !== 'object' || file === null || !('version' in file)) throw new Error('state.json is damaged');
  return file as NodeFile;
}

/** The raft log of a manager. */
export const raftDir = (dataDir: string): string => join(dataDir, 'raft');

const nextPrefix = 'raft-next-';

/** Where the log of the member that this node is to be next is made: it counts from when the node file names that member. */
export const nextRaftDir = (dataDir: string, raftId: number): string => join(dataDir, `${nextPrefix}${raftId}`);

/** Puts the log that the node file names in its place, whatever was left half-done, and throws others away. */
export function settleRaft(dataDir: string, raftId: number | undefined): void {
  const names = existsSync(dataDir) ? readdirSync(dataDir) : [];
  for (const name of names.filter((one) => one.startsWith(nextPrefix))) {
    const next = join(dataDir, name);
    if (raftId !== undefined && next === nextRaftDir(dataDir, raftId)) {
      rmSync(raftDir(dataDir), { recursive: true, force: true });
      renameSync(next, raftDir(dataDir));
    } else rmSync(next, { recursive: true, force: true });
  }
}

/** Forgets the raft log, for a node that is no longer a manager. */
export function wipeRaft(dataDir: string, vault: Vault): void {
  rmSync(raftDir(dataDir), { recursive: true, force: true });
  vault.forget();
}

/** Forgets the cluster. The state goes first: without it, what is left counts as rubbish. */
export function wipeNode(dataDir: string, vault: Vault): void {
  rmSync(paths(dataDir).state, { force: true });
  vault.wipe();
  settleRaft(dataDir, undefined);
  for (const name of ['raft', 'identity', 'agent']) rmSync(join(dataDir, name), { recursive: true, force: true });
}
