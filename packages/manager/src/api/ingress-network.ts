import { ClusterError } from '@swarmctl/shared/kit';
import {
  type Cluster,
  ingressNetwork,
  type NetworkCreateRequest,
  type ServiceSpec,
  type StoreChange,
} from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import { clusterOf } from './context.ts';
import type { ManagerAccess } from './ports.ts';

// The network that stands for published ports. Ports go by no overlay here, but clients know it by name: they list it, and may take it away, and with it
// the publishing of ports, until it is made again. Messages are Docker's.

const refused = (message: string) =>
  new ClusterError('failed-precondition', `rpc error: code = FailedPrecondition desc = ${message}`);

export const hasIngress = (view: View): boolean => view.cluster()?.NoIngress === undefined;

/** Throws `failed-precondition` for a service whose ports could not be published. */
export function checkIngress(view: View, spec: Pick<ServiceSpec, 'EndpointSpec'>): void {
  if (needsIngress(spec) && !hasIngress(view)) {
    throw refused('service needs ingress network, but no ingress network is present');
  }
}

const needsIngress = ({ EndpointSpec }: Pick<ServiceSpec, 'EndpointSpec'>): boolean =>
  (EndpointSpec?.Ports ?? []).some(({ PublishMode }) => PublishMode !== 'host');

export async function removeIngress(manager: ManagerAccess): Promise<void> {
  const view = manager.view();
  if (!hasIngress(view)) throw new ClusterError('not-found', `network ${ingressNetwork} not found`);
  const user = view.list('services').find(({ Spec }) => needsIngress(Spec));
  if (user) throw refused(`ingress network cannot be removed because service ${user.ID} depends on it`);
  await manager.propose([change(clusterOf(view), { set: { NoIngress: true } })]);
}

/** Resolves with its id. It has the one name, and nothing else can be said of it, since no container is on it. */
export async function restoreIngress(manager: ManagerAccess, request: NetworkCreateRequest): Promise<string> {
  const view = manager.view();
  if (hasIngress(view)) {
    throw new ClusterError(
      'already-exists',
      `rpc error: code = AlreadyExists desc = ingress network (${ingressNetwork}) is already present`,
    );
  }
  const problem = problemOf(request);
  if (problem) throw new ClusterError('invalid-argument', `the ingress network ${problem}`);
  await manager.propose([change(clusterOf(view), { set: {}, unset: ['NoIngress'] })]);
  return ingressNetwork;
}

function problemOf(request: NetworkCreateRequest): string | undefined {
  const { Name, Driver, Options = {}, IPAM, Attachable, Internal, Labels = {} } = request;
  if (Name !== ingressNetwork) return `is called '${ingressNetwork}', not '${Name ?? ''}'`;
  if (Driver && Driver !== 'overlay') return `is of the driver overlay, not '${Driver}'`;
  if (Attachable || Internal) return 'is neither attachable nor internal';
  const said = [IPAM?.Config ?? [], Object.keys(Options), Object.keys(Labels)].some((list) => list.length > 0);
  return said ? 'has no subnets, options or labels of its own: ports go straight to the tasks' : undefined;
}

const change = (
  { ID }: Cluster,
  what: { readonly set: Partial<Cluster>; readonly unset?: readonly ['NoIngress'] },
): StoreChange => ({ op: 'update', table: 'cluster', id: ID, ...what });

export const showIngress = () => ({
  ...{ Name: ingressNetwork, Id: ingressNetwork, Created: '1970-01-01T00:00:00Z', Scope: 'swarm', Driver: 'overlay' },
  ...{ EnableIPv4: true, EnableIPv6: false, Internal: false, Attachable: false, Ingress: true },
  IPAM: { Driver: 'default', Options: null, Config: [] },
  ...{ ConfigFrom: { Network: '' }, ConfigOnly: false, Containers: {}, Options: {}, Labels: {} },
});
