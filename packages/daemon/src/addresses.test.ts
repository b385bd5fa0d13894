import { describe, expect, test } from 'vitest';
import { type Interfaces, resolveAddresses } from './addresses.ts';

const address = (ip: string, internal = false) =>
  ({ address: ip, family: ip.includes(':') ? 'IPv6' : 'IPv4', internal }) as NonNullable<Interfaces[string]>[number];
const lo = [address('127.0.0.1', true)];
const one: Interfaces = { lo, eth0: [address('fe80::1'), address('10.0.0.5')] };
const two: Interfaces = { ...one, eth1: [address('192.168.0.5')] };
const twice: Interfaces = { lo, eth0: [address('10.0.0.5'), address('10.0.0.6')] };

interface Wishes {
  ListenAddr?: string;
  AdvertiseAddr?: string;
  listenAddr?: string;
  advertiseAddr?: string;
  localEnd?: string;
}

const resolve = (wishes: Wishes, interfaces = one) => {
  const { listen, advertise } = resolveAddresses(
    {
      requested: { ListenAddr: wishes.ListenAddr, AdvertiseAddr: wishes.AdvertiseAddr },
      configured: { listenAddr: wishes.listenAddr ?? '0.0.0.0:2377', advertiseAddr: wishes.advertiseAddr },
      localEnd: wishes.localEnd,
    },
    interfaces,
  );
  return `${listen.host} ${listen.port}, ${advertise.host} ${advertise.port}`;
};

describe('addresses', () => {
  test.each<[string, Wishes, string]>([
    ['nothing said: the only address', {}, '0.0.0.0 2377, 10.0.0.5 2377'],
    ['what the daemon listens on', { listenAddr: '127.0.0.2:2378' }, '127.0.0.2 2378, 127.0.0.2 2378'],
    [
      'a client’s wildcard says nothing',
      { ListenAddr: '0.0.0.0:2377', listenAddr: '127.0.0.2:2377' },
      '127.0.0.2 2377, 127.0.0.2 2377',
    ],
    [
      'the request over the configuration',
      { ListenAddr: '127.0.0.3', AdvertiseAddr: '127.0.0.4', listenAddr: '127.0.0.2:1', advertiseAddr: '127.0.0.9' },
      '127.0.0.3 2377, 127.0.0.4 2377',
    ],
    ['a port of its own to advertise', { AdvertiseAddr: '1.2.3.4:99' }, '0.0.0.0 2377, 1.2.3.4 99'],
    [
      'the port listened on to advertise',
      { listenAddr: '0.0.0.0:99', AdvertiseAddr: '1.2.3.4' },
      '0.0.0.0 99, 1.2.3.4 99',
    ],
    ['an interface', { AdvertiseAddr: 'eth0' }, '0.0.0.0 2377, 10.0.0.5 2377'],
    ['a host name', { AdvertiseAddr: 'node.example' }, '0.0.0.0 2377, node.example 2377'],
    ['IPv6', { AdvertiseAddr: '[fd00::5]:99' }, '0.0.0.0 2377, fd00::5 99'],
    ['this end of the connection', { localEnd: '10.9.9.9' }, '0.0.0.0 2377, 10.9.9.9 2377'],
  ])('%s', (_, wishes, expected) => {
    expect(resolve(wishes)).toBe(expected);
  });

  test.each<[string, Wishes, Interfaces, string]>([
    [
      'two interfaces',
      {},
      two,
      'multiple addresses on different interfaces (10.0.0.5 on eth0 and 192.168.0.5 on eth1)',
    ],
    ['two addresses', {}, twice, 'multiple addresses on interface eth0 (10.0.0.5 and 10.0.0.6)'],
    ['no address', {}, { lo }, 'could not find the system’s IP address'],
    ['a wildcard to advertise', { AdvertiseAddr: '0.0.0.0' }, one, 'advertise address must be a non-zero IP address'],
    ['garbage', { AdvertiseAddr: 'a:b:c' }, one, "advertise address: 'a:b:c' is not an address"],
  ])('%s is refused', (_, wishes, interfaces, message) => {
    expect(() => resolve(wishes, interfaces)).toThrow(message);
  });
});
