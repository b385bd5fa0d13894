import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type FakeDaemon, fakeDaemon } from '../../../../test/kit/swarmctl.ts';

let daemon: FakeDaemon;

const networks = [
  {
    Id: 'zyxwvutsrqponmlkjihgfedcb',
    Name: 'front',
    Driver: 'overlay',
    Scope: 'swarm',
    Labels: { team: 'red' },
    Status: {
      IPAM: {
        Subnets: {
          '10.0.1.0/24': { IPsInUse: 204, DynamicIPsAvailable: 50 },
          'fd00::/64': { IPsInUse: 204, DynamicIPsAvailable: 2 ** 53 - 1 },
        },
      },
    },
  },
  { Id: 'bridge', Name: 'bridge', Driver: 'bridge', Scope: 'local', Labels: null },
];

const stored = {
  ID: 's1',
  Version: { Index: 7 },
  Spec: {
    Name: 'web',
    TaskTemplate: { ContainerSpec: { Image: 'web:1' }, Networks: [{ Target: networks[0]?.Id }, { Target: 'gone' }] },
  },
};

beforeAll(async () => {
  daemon = await fakeDaemon(({ method, url }, response) => {
    if (url === '/v1.50/networks/create') return response.writeHead(201).end('{"Id":"abc","Warning":""}');
    if (url === '/v1.50/services/create') return response.writeHead(201).end('{"ID":"s1","Warnings":null}');
    if (url.startsWith('/v1.50/services/s1/update')) return response.end('{"Warnings":null}');
    if (url.startsWith('/v1.50/services/s1')) return response.end(JSON.stringify(stored));
    if (url.startsWith('/v1.50/networks/front')) {
      return method === 'DELETE' ? response.writeHead(204).end() : response.end(JSON.stringify(networks[0]));
    }
    if (url.startsWith('/v1.50/networks/')) return response.writeHead(404).end('{"message":"network x not found"}');
    return response.end(JSON.stringify(networks));
  });
});
afterAll(() => daemon.close());

async function swarmctl(...argv: string[]) {
  const { err, ...rest } = await daemon.swarmctl(...argv);
  return { ...rest, err: err.trim() };
}

test('create sends what was asked for, gateways and ranges with their subnets', async () => {
  const flags = ['-d', 'overlay', '--attachable', '--internal', '--ipv6', '--label', 'team=red', '-o', 'encrypted'];
  const subnets = [
    '--subnet',
    '10.1.0.0/16',
    '--subnet=10.2.0.0/16',
    '--gateway',
    '10.2.0.9',
    '--ip-range=10.1.4.0/24',
    '--aux-address=printer=10.2.0.7',
    '--aux-address=router=10.2.0.8',
  ];
  expect(await swarmctl('network', 'create', ...flags, ...subnets, 'front')).toEqual({
    status: 0,
    out: 'abc\n',
    err: '',
  });
  expect(daemon.sent()).toEqual({
    Name: 'front',
    Driver: 'overlay',
    Scope: 'swarm',
    Internal: true,
    Attachable: true,
    EnableIPv6: true,
    IPAM: {
      Driver: 'default',
      Config: [
        { Subnet: '10.1.0.0/16', IPRange: '10.1.4.0/24' },
        {
          ...{ Subnet: '10.2.0.0/16', Gateway: '10.2.0.9' },
          AuxiliaryAddresses: { printer: '10.2.0.7', router: '10.2.0.8' },
        },
      ],
    },
    Options: { encrypted: '' },
    Labels: { team: 'red' },
  });
});

test('create names the config that a network of the engines has its settings from', async () => {
  const { status } = await swarmctl('network', 'create', '-d', 'macvlan', '--config-from', 'lan-here', 'lan');
  expect(status).toBe(0);
  expect(daemon.sent()).toMatchObject({
    ...{ Name: 'lan', Driver: 'macvlan', Scope: 'swarm' },
    ConfigFrom: { Network: 'lan-here' },
  });
});

test('the driver is overlay where none is said', async () => {
  await swarmctl('network', 'create', 'plain');
  expect(daemon.sent()).toMatchObject({
    Driver: 'overlay',
    IPAM: { Config: [] },
    Labels: {},
  });
});

test('ls, inspect, rm', async () => {
  expect((await swarmctl('network', 'ls')).out).toBe(
    'NETWORK ID     NAME     DRIVER    SCOPE\nbridge         bridge   bridge    local\nzyxwvutsrqpo   front    overlay   swarm\n',
  );
  expect((await swarmctl('network', 'ls', '-f', 'name=fr', '--format', '{{.Name}} {{.Labels}}')).out).toBe(
    'bridge \nfront team=red\n',
  );
  expect(decodeURIComponent(daemon.requests.at(-1)?.url ?? '')).toContain('filters={"name":{"fr":true}}');
  expect((await swarmctl('network', 'inspect', '--verbose', '-f', '{{.Id}}', 'front')).out).toBe(
    `${networks[0]?.Id}\n`,
  );
  expect(daemon.requests.at(-1)?.url).toMatch(/verbose=true$/);
  expect(await swarmctl('network', 'inspect', '-f', '{{.Name}}', 'front')).toEqual({
    status: 0,
    out: 'front\n',
    err: 'WARNING: addresses of network front run low: 204 of 254 of 10.0.1.0/24 are in use',
  });
  expect(await swarmctl('network', 'rm', 'front')).toEqual({ status: 0, out: 'front\n', err: '' });
  expect(await swarmctl('network', 'rm', 'x')).toEqual({
    status: 1,
    out: '',
    err: 'Error response from daemon: network x not found',
  });
});

test.each([
  [['--subnet', 'ten'], 'invalid argument "ten" for "--subnet": expected a subnet such as 10.1.0.0/16'],
  [['--gateway', '10.1.0.1'], 'invalid argument "10.1.0.1" for "--gateway": it lies in no --subnet'],
  [
    ['--subnet', '10.1.0.0/16', '--gateway', '10.1.0.1', '--gateway', '10.1.0.2'],
    'invalid argument "10.1.0.2" for "--gateway": the subnet 10.1.0.0/16 has 10.1.0.1 already',
  ],
])('%j', async (flags, err) => {
  expect(await swarmctl('network', 'create', ...flags, 'x')).toEqual({ status: 125, out: '', err });
});

describe('services are put on networks', () => {
  const sent = () => daemon.sent().TaskTemplate.Networks;
  const id = networks[0]?.Id;

  test('by name, with aliases', async () => {
    const flags = ['--network', 'name=front,alias=www,alias=web'];
    expect((await swarmctl('service', 'create', '-d', ...flags, 'web:1')).status).toBe(0);
    expect(sent()).toEqual([{ Target: id, Aliases: ['www', 'web'] }]);
    await swarmctl('service', 'create', '-d', '--network=front', 'web:1');
    expect(sent()).toEqual([{ Target: id }]);
  });

  test('and taken off, also one that is gone', async () => {
    await swarmctl('service', 'update', '-d', '--network-rm', 'front', '--network-rm', 'gone', 's1');
    expect(sent()).toEqual([]);
    await swarmctl('service', 'update', '-d', '--network-add', 'name=front,alias=a', 's1');
    expect(sent()).toEqual([{ Target: 'gone' }, { Target: id, Aliases: ['a'] }]);
  });

  test.each([
    ['name=front,alias', 'is not KEY=VALUE', 125],
    ['alias=web', 'the name of the network is missing', 125],
    ['name=front,driver-opt=x', "unknown key 'driver-opt'; known: name, alias", 125],
    ['nosuch', 'network x not found', 1],
  ])('--network %s', async (value, message, status) => {
    const ran = await swarmctl('service', 'create', '-d', '--network', value, 'web:1');
    expect([ran.status, ran.err]).toEqual([status, expect.stringContaining(message)]);
  });
});
