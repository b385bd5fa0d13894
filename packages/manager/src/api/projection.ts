import { X509Certificate } from 'node:crypto';
import {
  type Cluster,
  insertDefaults,
  isGlobal,
  isTerminal,
  type Node,
  replicasOf,
  type Service,
  type Task,
  type TlsInfo,
} from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import type { ManagerAccess } from './ports.ts';

// The stored objects as the Engine API shows them: our own fields left out, what is derived filled in.

const metaOf = (object: Service | Task | Node | Cluster) => ({
  ID: object.ID,
  Version: object.Version,
  CreatedAt: object.CreatedAt,
  UpdatedAt: object.UpdatedAt,
});

export function serviceStatusOf(service: Service, view: View) {
  const tasks = view.tasksOfService(service.ID);
  const running = tasks.filter(
    (task) =>
      task.Status.State === 'running' &&
      task.DesiredState === 'running' &&
      view.get('nodes', task.NodeID ?? '')?.Status.State !== 'down',
  );
  const desired = isGlobal(service)
    ? tasks.filter((task) => task.DesiredState === 'running' || task.DesiredState === 'ready').length
    : (replicasOf(service.Spec) ?? 0);
  return { RunningTasks: running.length, DesiredTasks: desired, CompletedTasks: 0 };
}

export function showService(
  service: Service,
  view: View,
  options: { insertDefaults?: boolean; status?: boolean } = {},
) {
  const complete = options.insertDefaults ? insertDefaults : (spec: Service['Spec']) => spec;
  return {
    ...metaOf(service),
    Spec: complete(service.Spec),
    ...(service.PreviousSpec && { PreviousSpec: complete(service.PreviousSpec) }),
    Endpoint: service.Endpoint,
    ...(service.UpdateStatus && { UpdateStatus: service.UpdateStatus }),
    ...(options.status && { ServiceStatus: serviceStatusOf(service, view) }),
  };
}

export function showTask(task: Task) {
  const { Endpoints: _, PortStatus, ...status } = task.Status;
  return {
    ...metaOf(task),
    Labels: task.Labels,
    Spec: task.Spec,
    ServiceID: task.ServiceID,
    ...(task.Slot !== undefined && { Slot: task.Slot }),
    ...(task.NodeID !== undefined && { NodeID: task.NodeID }),
    Status: { ...status, PortStatus: PortStatus ?? {} },
    DesiredState: task.DesiredState,
    Volumes: null,
  };
}

export function showNode(node: Node, manager: ManagerAccess) {
  const raft = node.ManagerStatus && manager.raftStatus(node.ID);
  const description = node.Description;
  return {
    ...metaOf(node),
    Spec: node.Spec,
    Description: description
      ? {
          Hostname: description.Hostname,
          Platform: description.Platform,
          Resources: description.Resources,
          Engine: description.Engine,
          TLSInfo: description.TLSInfo ?? {},
        }
      : { Platform: {}, Resources: {}, Engine: {}, TLSInfo: {} },
    Status: node.Status,
    ...(node.ManagerStatus &&
      raft && {
        ManagerStatus: {
          ...(raft.leader && { Leader: true }),
          Reachability: raft.reachable ? 'reachable' : 'unreachable',
          Addr: node.ManagerStatus.Addr,
        },
      }),
  };
}

const tlsInfo = new Map<string, TlsInfo>();

/** The trust root with its issuer's subject and public key, as clients compare them (base64 DER). */
export function tlsInfoOf(certificate: string): TlsInfo {
  const known = tlsInfo.get(certificate);
  if (known) return known;
  const info = {
    TrustRoot: certificate,
    CertIssuerSubject: subjectDer(certificate),
    CertIssuerPublicKey: new X509Certificate(certificate).publicKey
      .export({ type: 'spki', format: 'der' })
      .toString('base64'),
  };
  tlsInfo.set(certificate, info);
  return info;
}

/** The subject's DER: found by its own bytes, because Node gives only its text. */
function subjectDer(certificate: string): string {
  const name = new X509Certificate(certificate).subject.replace(/^CN=/, '');
  const text = Buffer.from(name, 'utf8');
  // Name ::= SEQUENCE { SET { SEQUENCE { OID 2.5.4.3, PrintableString | UTF8String } } }; our root has a common name alone.
  const raw = new X509Certificate(certificate).raw;
  const tag = raw[raw.indexOf(text) - 2] ?? 0x13;
  const value = Buffer.concat([Buffer.from([tag, text.length]), text]);
  const pair = Buffer.concat([Buffer.from([0x06, 0x03, 0x55, 0x04, 0x03]), value]);
  const sequence = Buffer.concat([Buffer.from([0x30, pair.length]), pair]);
  const set = Buffer.concat([Buffer.from([0x31, sequence.length]), sequence]);
  return Buffer.concat([Buffer.from([0x30, set.length]), set]).toString('base64');
}

export const showClusterInfo = (cluster: Cluster) => ({
  ...metaOf(cluster),
  Spec: cluster.Spec,
  TLSInfo: tlsInfoOf(cluster.RootCA.Certificate),
  RootRotationInProgress: false,
  DefaultAddrPool: cluster.DefaultAddrPool.length > 0 ? cluster.DefaultAddrPool : null,
  SubnetSize: cluster.SubnetSize,
  DataPathPort: cluster.DataPathPort,
});

export const showSwarm = (cluster: Cluster) => ({ ...showClusterInfo(cluster), JoinTokens: cluster.RootCA.JoinTokens });

/** A task that is neither finished nor meant to finish. */
export const isLive = (task: Task): boolean => !isTerminal(task.Status.State) && !isTerminal(task.DesiredState);
