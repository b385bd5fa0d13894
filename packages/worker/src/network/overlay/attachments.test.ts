import type { NetworkView } from '@swarmctl/shared/wire';
import { expect, test } from 'vitest';
import { aTask } from '../../../../../test/kit/builders.ts';
import { attachmentsOf, endpointsOf, macAt } from './attachments.ts';

const spec = aTask({}).Spec;
const task = aTask({
  set: {
    Spec: { ...spec, Networks: [{ Target: 'front', DriverOpts: { a: 'b' } }, { Target: 'six' }] },
    NetworksAttachments: [
      { Network: { ID: 'front' }, Addresses: ['10.0.1.5/24', 'fd00:1::5/64'] },
      { Network: { ID: 'six' }, Addresses: ['fd00:2:0::6/64'] },
      { Network: { ID: 'bridge-of-the-node' }, Addresses: [] },
    ],
  },
});
const view = (...gateways: string[]): NetworkView =>
  ({ subnets: gateways.map((gateway) => ({ subnet: '', gateway })) }) as unknown as NetworkView;

test('a task is attached where this cluster gave it an address', () => {
  expect(attachmentsOf(task)).toEqual([
    { networkId: 'front', addrs: ['10.0.1.5', 'fd00:1::5'], driverOpts: { a: 'b' } },
    { networkId: 'six', addrs: ['fd00:2::6'] },
  ]);
  expect(attachmentsOf(task).map(macAt)[0]).toBe('02:42:0a:00:01:05');
});

test('the engine is told of its addresses by its own name of the network, and of the resolvers, by IPv4 where there is one', () => {
  const networks = new Map([
    ['front', { view: view('fd00:1::1', '10.0.1.1'), engineName: 'shop_front' }],
    ['six', { view: view('fd00:2::1') }],
  ]);
  expect(endpointsOf(attachmentsOf(task), networks)).toEqual({
    networks: {
      shop_front: {
        IPAMConfig: { IPv4Address: '10.0.1.5', IPv6Address: 'fd00:1::5' },
        MacAddress: '02:42:0a:00:01:05',
        DriverOpts: { a: 'b' },
      },
      swarmd_six: { IPAMConfig: { IPv6Address: 'fd00:2::6' } },
    },
    dns: ['10.0.1.1', 'fd00:2::1'],
  });
});
