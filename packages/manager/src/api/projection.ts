import { tlsInfoOf } from '@swarmctl/shared/kit';
import {
  type Cluster,
  insertDefaults,
  isGlobal,
  isJob,
  isPredefinedNetwork,
  isTerminal,
  type Meta,
  type Network,
  type Node,
  replicasOf,
  type Service,
  signerOf,
  type Task,
  type TaskState,
  vxlanIdOption,
  wantsLife,
} from '@swarmctl/shared/model';
import { networksWithoutRoom } from '../store/guests.ts';
import type { View } from '../store/types.ts';
import type { ManagerAccess } from './ports.ts';
import { asSent } from './wire.ts';

// The stored objects as the Engine API shows them: our own fields left out, what is derived filled in.

export const metaOf = (object: Meta) => ({
  ID: object.ID,
  Version: object.Version,
  CreatedAt: object.CreatedAt,
  UpdatedAt: object.UpdatedAt,
});

const statuses = new WeakMap<
  Service,
  { readonly of: readonly [tasks: unknown, nodes: unknown]; readonly text: string }
>();

/** Counted anew when the tasks of the service or the nodes have changed: a view hands out the same list as long as nothing in it does. */
function statusText(service: Service, view: View): string {
  const of = [view.tasksOfService(service.ID), view.list('nodes')] as const;
  const known = statuses.get(service);
  if (known?.of[0] === of[0] && known.of[1] === of[1]) return known.text;
  const text = JSON.stringify(isJob(service) ? jobStatusOf(service, view) : countsOf(service, view));
  statuses.set(service, { of, text });
  return text;
}

function countsOf(service: Service, view: View) {
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

/** A replicated job wants as many tasks as may be at work at once, a global one those that have not completed yet. */
function jobStatusOf(service: Service, view: View) {
  const iteration = service.JobStatus?.JobIteration.Index;
  const tasks = view
    .tasksOfService(service.ID)
    .filter((task) => task.JobIteration?.Index === iteration && wantsLife(task.DesiredState));
  const count = (state: TaskState) => tasks.filter((task) => task.Status.State === state).length;
  return {
    RunningTasks: count('running'),
    DesiredTasks:
      service.Spec.Mode?.ReplicatedJob?.MaxConcurrent ?? tasks.filter((task) => !isTerminal(task.Status.State)).length,
    CompletedTasks: count('complete'),
  };
}

/** Index 0 is left out, as Docker does. */
const showIteration = ({ Index }: { readonly Index: number }) => (Index === 0 ? {} : { Index });

const serviceTexts = { asStored: new WeakMap<Service, string>(), withDefaults: new WeakMap<Service, string>() };

/** A service's JSON; of an object of the state, which never changes, all but the status is written once. */
export function serviceText(
  service: Service,
  view: View,
  options: { readonly insertDefaults: boolean; readonly status?: boolean },
): string {
  const texts = serviceTexts[options.insertDefaults ? 'withDefaults' : 'asStored'];
  let text = texts.get(service);
  if (text === undefined) {
    text = JSON.stringify(showService(service, options.insertDefaults)).slice(0, -1);
    texts.set(service, text);
  }
  return `${text}${options.status ? `,"ServiceStatus":${statusText(service, view)}` : ''}}`;
}

function showService(service: Service, withDefaults: boolean) {
  const { Spec: spec, PreviousSpec: previous, Endpoint: endpoint } = service;
  return {
    ...metaOf(service),
    Spec: asSent('ServiceSpec', withDefaults ? insertDefaults(spec) : spec),
    ...(previous && { PreviousSpec: asSent('ServiceSpec', previous) }),
    Endpoint: {
      Spec: asSent('EndpointSpec', endpoint.Spec),
      ...asSent('EndpointSpec', { Ports: endpoint.Ports }),
      ...(endpoint.VirtualIPs?.length && { VirtualIPs: endpoint.VirtualIPs }),
    },
    ...(service.UpdateStatus && { UpdateStatus: service.UpdateStatus }),
    ...(service.JobStatus && {
      JobStatus: { ...service.JobStatus, JobIteration: showIteration(service.JobStatus.JobIteration) },
    }),
  };
}

const taskTexts = new WeakMap<Task, string>();

/** A task's JSON. Objects of the state never change, so each is written once, however often clients poll. */
export function taskText(task: Task, view: View, minor: number): string {
  let text = taskTexts.get(task);
  if (text === undefined) {
    text = JSON.stringify(showTask(task, view)).slice(0, -1);
    taskTexts.set(task, text);
  }
  return `${text}${minor >= 42 ? ',"Volumes":null' : ''}}`;
}

function showTask(task: Task, view: View) {
  const { Endpoints: _, Withdrawn: __, PortStatus, ...status } = task.Status;
  const { Runtime: ___, ...spec } = task.Spec;
  return {
    ...metaOf(task),
    Labels: task.Labels,
    Spec: asSent('TaskTemplate', spec),
    ServiceID: task.ServiceID,
    ...(task.Slot && { Slot: task.Slot }),
    ...(task.NodeID !== undefined && { NodeID: task.NodeID }),
    Status: { ...status, PortStatus: PortStatus ?? {} },
    DesiredState: task.DesiredState,
    ...(task.NetworksAttachments && {
      NetworksAttachments: task.NetworksAttachments.map(({ Network, Addresses }) => ({
        Network: showAttached(view.get('networks', Network.ID), Network.ID),
        Addresses,
      })),
    }),
    ...(task.AssignedGenericResources?.length && { GenericResources: task.AssignedGenericResources }),
    ...(task.JobIteration && { JobIteration: showIteration(task.JobIteration) }),
  };
}

/** A network as tasks show it; one that is no more is its id alone. */
function showAttached(network: Network | undefined, id: string) {
  if (!network) return { ID: id, ...(isPredefinedNetwork(id) && { Spec: { Name: id, Scope: 'swarm' } }) };
  const { Spec, VNI, IPAM } = network;
  const Options = VNI === undefined ? {} : { [vxlanIdOption]: String(VNI) };
  return {
    ...metaOf(network),
    Spec: asSent('NetworkSpec', Spec),
    DriverState: { Name: Spec.DriverConfiguration?.Name, Options },
    IPAMOptions: { Driver: { Name: 'default' }, Configs: IPAM.Configs },
  };
}

/** What the node says of its networks, and what the managers could not give it. */
const networkProblems = (view: View, node: Node): string[] => [
  ...(node.Description?.NetworkProblems ?? []),
  ...networksWithoutRoom(view, node).map(
    ({ Spec, IPAM }) =>
      `network ${Spec.Name}: ${subnetsOf(IPAM)} has no block left for this node, so it does not have the network for containers made by hand; a larger --subnet has more`,
  ),
];

const subnetsOf = ({ Configs }: Network['IPAM']): string => Configs.map(({ Subnet }) => Subnet).join(', ');

export function showNode(view: View, node: Node, manager: ManagerAccess) {
  const raft = node.ManagerStatus && manager.raftStatus(node.ID);
  const description = node.Description;
  const problems = networkProblems(view, node);
  return {
    ...metaOf(node),
    Spec: asSent('NodeSpec', node.Spec),
    Description: description
      ? {
          Hostname: description.Hostname,
          Platform: description.Platform,
          Resources: asSent('Resources', description.Resources),
          Engine: description.Engine,
          TLSInfo: description.TLSInfo ?? {},
          ...(description.Ingress && { Ingress: description.Ingress }),
          ...(problems.length > 0 && { NetworkProblems: problems }),
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

export const showClusterInfo = (cluster: Cluster) => ({
  ...metaOf(cluster),
  Spec: asSent('ClusterSpec', cluster.Spec),
  TLSInfo: tlsInfoOf(cluster.RootCA.Certificate, signerOf(cluster.RootCA).certificate),
  RootRotationInProgress: cluster.RootCA.Rotation !== undefined,
  DefaultAddrPool: cluster.DefaultAddrPool.length > 0 ? cluster.DefaultAddrPool : null,
  SubnetSize: cluster.SubnetSize,
  DataPathPort: cluster.DataPathPort,
});

const never = '0001-01-01T00:00:00Z';

/** What a manager sends that cannot see its cluster. */
export const emptyClusterInfo = {
  ID: '',
  Version: {},
  CreatedAt: never,
  UpdatedAt: never,
  Spec: asSent('ClusterSpec', {}),
  TLSInfo: {},
  RootRotationInProgress: false,
  DefaultAddrPool: null,
  SubnetSize: 0,
  DataPathPort: 0,
};

export const showSwarm = (cluster: Cluster) => ({ ...showClusterInfo(cluster), JoinTokens: cluster.RootCA.JoinTokens });
