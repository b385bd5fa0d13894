import { expect, test } from 'vitest';
import { bindingsOf, portsOf } from './published.ts';

const port = (IP?: string) => ({ ...(IP !== undefined && { IP }), PrivatePort: 80, PublicPort: 8080, Type: 'tcp' });

test.each([
  ['192.0.2.7', ['0.0.0.0', '::'], ['192.0.2.7']],
  ['2001:db8::7', ['0.0.0.0', '::'], ['2001:db8::7']],
  ['192.0.2.7', ['0.0.0.0'], ['192.0.2.7']],
  ['192.0.2.7', ['::'], ['::']],
  ['192.0.2.7', ['127.0.0.1'], ['127.0.0.1']],
  ['192.0.2.7', [undefined], [undefined]],
  ['', ['0.0.0.0', '::'], ['0.0.0.0', '::']],
])('at the node %s, ports of %j are shown at %j', (addr, engine, shown) => {
  expect(portsOf({ Id: 'c', Ports: engine.map(port) }, addr)).toEqual({ Id: 'c', Ports: shown.map(port) });
  const binding = (HostIp?: string) => ({ ...(HostIp !== undefined && { HostIp }), HostPort: '8080' });
  const settings = { Networks: {}, Ports: { '80/tcp': engine.map(binding), '81/tcp': null } };
  expect(bindingsOf({ Id: 'c', NetworkSettings: settings }, addr)).toEqual({
    Id: 'c',
    NetworkSettings: { Networks: {}, Ports: { '80/tcp': shown.map(binding), '81/tcp': null } },
  });
});

test('what has no ports is as it was', () => {
  expect(portsOf({ Id: 'c', Ports: null }, '192.0.2.7')).toEqual({ Id: 'c', Ports: null });
  expect(bindingsOf({ Id: 'c', NetworkSettings: { Ports: {} } }, '192.0.2.7')).toEqual({
    Id: 'c',
    NetworkSettings: { Ports: {} },
  });
});
