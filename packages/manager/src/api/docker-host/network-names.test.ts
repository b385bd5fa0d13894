import { expect, it } from 'vitest';
import { aNetwork, aStore } from '../../../../../test/kit/index.ts';
import { withClusterNetworks } from './network-names.ts';

it('the networks of a container have the ids by which the cluster shows them', () => {
  const view = aStore({ networks: [aNetwork({ id: 'n1', name: 'web', spec: { Attachable: true } })] }).view();
  const shown = (name: string) =>
    withClusterNetworks(view, { NetworkSettings: { Networks: { [name]: { NetworkID: 'f00d', IPAddress: 'x' } } } })
      .NetworkSettings?.Networks;
  expect(shown('web')).toEqual({ web: { NetworkID: 'n1', IPAddress: 'x' } });
  expect(shown('bridge')).toEqual({ bridge: { NetworkID: 'bridge', IPAddress: 'x' } });
  expect(shown('host')).toEqual({ host: { NetworkID: 'host', IPAddress: 'x' } });
  expect(shown('theirs')).toEqual({ theirs: { NetworkID: 'f00d', IPAddress: 'x' } });
});
