import type { Network, NetworkAttachment, Service, Task } from '@swarmctl/shared/model';
import type { NetworkView } from '@swarmctl/shared/wire';
import { viewOf, wholeNetwork } from '../../packages/manager/src/dispatcher/network-view.ts';
import type { Store } from '../../packages/manager/src/store/store.ts';
import { aNetwork, aNode, aService, aTask, type ServiceWords, type TaskWords } from './builders.ts';

// The network `front` with its service `web`, and three nodes.

const subnets = ['10.0.1.0/24', 'fd00:1::/64'];
export const gateways = {
  n1: ['10.0.1.11', 'fd00:1::11'],
  n2: ['10.0.1.12', 'fd00:1::12'],
  n3: ['10.0.1.13', 'fd00:1::13'],
};
export const net = (set: Partial<Network> = {}): Network =>
  aNetwork({ id: 'net', name: 'front', subnets, vni: 4100, set: { Gateways: gateways, ...set } });

export const at = (host: number): readonly NetworkAttachment[] => [
  { Network: { ID: 'net' }, Addresses: [`10.0.1.${host}/24`, `fd00:1::${host}/64`] },
];
export const on = (id: string, vip: number | undefined, words: ServiceWords = {}): Service => {
  const service = aService({ id, name: id, networks: ['net'], ...words });
  const VirtualIPs = [{ NetworkID: 'net', Addr: `10.0.1.${vip}/24` }];
  return { ...service, Endpoint: { ...service.Endpoint, ...(vip !== undefined && { VirtualIPs }) } };
};
export const web = on('web', 50);
export const task = (id: string, host: number, words: TaskWords = {}): Task =>
  aTask({ id, service: web, node: 'n1', ...words, set: { NetworksAttachments: at(host), ...words.set } });

export const nodes = [
  aNode({ id: 'n1', addr: '192.168.0.1' }),
  aNode({ id: 'n2', addr: '192.168.0.2' }),
  aNode({ id: 'n3', addr: '192.168.0.3' }),
];

export const shownTo = (nodeId: string, store: Store): NetworkView | undefined => {
  const network = store.view().get('networks', 'net');
  const whole = network && wholeNetwork(store.view(), network);
  return whole && viewOf(whole, nodeId);
};
