import { describe, expect, test } from 'vitest';
import { parseDurationMs } from './durations.ts';
import {
  checkReservedLabels,
  drainTimeoutMsOf,
  hasStableAddress,
  labelNamed,
  nearest,
  portLabel,
  publishedOptionsOf,
  publishesNotReady,
  readyCheckOf,
  runtimeOf,
} from './labels.ts';

describe('reserved labels', () => {
  test.each<['service' | 'node' | 'cluster', Record<string, string>, string | undefined]>([
    [
      'service',
      { 'swarmctl.drain-timeout': '1m30s', 'swarmctl.runtime': 'process', 'swarm.cronjob.enable': 'true', other: 'x' },
      undefined,
    ],
    ['service', { 'swarmctl.runtme': 'process' }, "did you mean 'swarmctl.runtime'?"],
    ['service', { 'swarmctl.runtime': 'podman' }, "'podman' is not one of docker, process"],
    ['service', { 'swarmctl.drain-timeout': '-1s' }, "'-1s' is not a duration such as 30s or 1m30s"],
    ['node', { 'swarmctl.runtime': 'process' }, 'belongs on a service, not on a node'],
    [
      'service',
      {
        'swarmctl.ingress.address': '10.0.0.5, fd00::5',
        'swarmctl.ingress.address.8080/tcp': '10.0.0.6',
        'swarmctl.ingress.allow': '10.0.0.0/8,fd00::/8,192.168.1.1',
        'swarmctl.ingress.allow.53/udp': '0.0.0.0/0',
        'swarmctl.ingress.client-address.8080/tcp': 'proxy-v2',
        'swarmctl.ingress.balance': 'least-connections',
        'swarmctl.ingress.max-connections.8080/tcp': '1000000',
        'swarmctl.ingress.max-connections-per-client': '1',
        'swarmctl.ingress.connect-timeout': '1m',
        'swarmctl.ingress.idle-timeout.53/udp': '1s',
        'swarmctl.ingress.health-interval': '1.5s',
        'swarmctl.publish-not-ready': 'true',
        'swarmctl.stable-address': 'false',
      },
      undefined,
    ],
    [
      'service',
      { 'swarmctl.ingress.address': 'eth0' },
      "label 'swarmctl.ingress.address': 'eth0' is not a list of addresses such as 10.0.0.5 or 10.0.0.5,fd00::5",
    ],
    ['service', { 'swarmctl.ingress.address': '' }, 'is not a list of addresses'],
    ['service', { 'swarmctl.ingress.address': '0.0.0.0' }, 'without the label every one answers'],
    ['service', { 'swarmctl.ingress.address': '10.0.0.0/8' }, 'is not a list of addresses'],
    [
      'service',
      { 'swarmctl.ingress.allow.80/tcp': '10.0.0.0/33' },
      "label 'swarmctl.ingress.allow.80/tcp': '10.0.0.0/33' is not a list of ranges such as 10.0.0.0/8",
    ],
    ['service', { 'swarmctl.ingress.allow': ' , ' }, 'is not a list of ranges'],
    ['service', { 'swarmctl.ingress.allow': '10.1.2.3/8' }, '10.1.2.3/8 lies in 10.0.0.0/8; write that'],
    [
      'service',
      { 'swarmctl.ingress.client-address': 'real' },
      "'real' is not one of keep, masquerade, proxy-v1, proxy-v2",
    ],
    ['service', { 'swarmctl.ingress.balance': 'random' }, "'random' is not one of round-robin, least-connections"],
    ...['0', '1000001', '-1', '1e3', '5.5', ''].map((value): ['service', Record<string, string>, string] => [
      'service',
      { 'swarmctl.ingress.max-connections': value },
      `'${value}' is not a number of connections from 1 to 1000000`,
    ]),
    ...['0', '9ms', '61s', 'soon', ''].map((value): ['service', Record<string, string>, string] => [
      'service',
      { 'swarmctl.ingress.connect-timeout.80/tcp': value },
      `label 'swarmctl.ingress.connect-timeout.80/tcp': '${value}' is not a duration from 10ms to 1m`,
    ]),
    ['service', { 'swarmctl.ingress.idle-timeout': '0' }, "'0' is not a duration from 1s to 168h"],
    ['service', { 'swarmctl.ingress.health-retries': '101' }, "'101' is not a number of failures from 1 to 100"],
    ['service', { 'swarmctl.ingress.max-conections': '5' }, "did you mean 'swarmctl.ingress.max-connections'?"],
    ['service', { 'swarmctl.stable-address': 'yes' }, "'yes' is not one of true, false"],
    [
      'service',
      { 'swarmctl.ingress.allow.80': '10.0.0.0/8' },
      "label 'swarmctl.ingress.allow.80': '80' is not a published port such as 8080/tcp",
    ],
    ['service', { 'swarmctl.ingress.allow.70000/tcp': '10.0.0.0/8' }, "'70000/tcp' is not a published port"],
    ['service', { 'swarmctl.ingress.alow': '10.0.0.0/8' }, "did you mean 'swarmctl.ingress.allow'?"],
    ['service', { 'swarmctl.stable-address.80/tcp': 'true' }, "did you mean 'swarmctl.stable-address'?"],
    ['cluster', { 'swarmctl.ingress.allow.80/tcp': '10.0.0.0/8' }, 'belongs on a service, not on a cluster'],
  ])('%s %j', (kind, labels, message) => {
    const check = () => checkReservedLabels(kind, labels);
    if (message) expect(check).toThrow(message);
    else expect(check).not.toThrow();
  });

  test('what absence means', () => {
    expect([drainTimeoutMsOf({}), runtimeOf({}), readyCheckOf({})]).toEqual([10_000, 'docker', 'connect']);
    expect([publishesNotReady({}), hasStableAddress({})]).toEqual([false, false]);
    expect(publishedOptionsOf({}, { PublishedPort: 80 })).toEqual({ addresses: [] });
  });
});

describe('labels of published ports', () => {
  const labels = {
    'swarmctl.ingress.address': '10.0.0.5',
    'swarmctl.ingress.address.53/udp': 'FD00:0::5,10.0.0.6,10.0.0.6',
    'swarmctl.ingress.allow': '10.1.0.0/16,10.0.0.0/8,fd00::/8,10.0.0.0/8,192.168.1.1',
    'swarmctl.ingress.client-address.8080/tcp': 'proxy-v1',
    'swarmctl.ingress.balance': 'round-robin',
    'swarmctl.ingress.balance.443/tcp': 'least-connections',
    'swarmctl.ingress.max-connections.443/tcp': '100',
    'swarmctl.ingress.max-connections-per-client.443/tcp': '10',
    'swarmctl.ingress.connect-timeout.443/tcp': '500ms',
    'swarmctl.ingress.idle-timeout.443/tcp': '1h',
    'swarmctl.ingress.health-interval.443/tcp': '5s',
    'swarmctl.ingress.health-interval.444/tcp': '5s',
    'swarmctl.ingress.health-timeout.444/tcp': '1s',
    'swarmctl.ingress.health-retries.444/tcp': '1',
  };
  const allow = ['10.0.0.0/8', 'fd00::/8', '192.168.1.1/32'];

  test.each([
    [{ PublishedPort: 80 }, { addresses: ['10.0.0.5'], allow }],
    [
      { PublishedPort: 53, Protocol: 'udp' as const },
      { addresses: ['fd00::5', '10.0.0.6'], allow },
    ],
    [
      { PublishedPort: 53, Protocol: 'tcp' as const },
      { addresses: ['10.0.0.5'], allow },
    ],
    [{ PublishedPort: 8080 }, { addresses: ['10.0.0.5'], allow, clientAddress: 'proxy-v1' }],
    [
      { PublishedPort: 443 },
      {
        ...{ addresses: ['10.0.0.5'], allow },
        proxy: {
          ...{ balance: 'least-connections', mostConnections: 100, mostPerClient: 10, connectMs: 500 },
          ...{ idleMs: 3_600_000, health: { everyMs: 5_000, timeoutMs: 2_000, fall: 3, rise: 2 } },
        },
      },
    ],
    [
      { PublishedPort: 444 },
      {
        ...{ addresses: ['10.0.0.5'], allow },
        proxy: { health: { everyMs: 5_000, timeoutMs: 1_000, fall: 1, rise: 2 } },
      },
    ],
  ])('%j', (port, options) => {
    expect(publishedOptionsOf(labels, port)).toEqual(options);
  });

  test('a name for one port is read as it is written', () => {
    const port = { PublishedPort: 53, Protocol: 'udp' as const };
    expect(labelNamed(portLabel('swarmctl.ingress.allow', port))).toEqual({ label: 'swarmctl.ingress.allow', port });
    expect(labelNamed('swarmctl.ingress.allow')).toEqual({ label: 'swarmctl.ingress.allow' });
    expect(labelNamed('swarmctl.ingress.allow.53')).toBeUndefined();
  });
});

test.each([
  ['0', 0],
  ['500ms', 500],
  ['1h1m1s', 3_661_000],
  ['1.5s', 1500],
  ['', undefined],
  ['5', undefined],
  ['1x', undefined],
  ['1s ', undefined],
])('duration %j', (text, ms) => {
  expect(parseDurationMs(text)).toBe(ms);
});

test('the nearest word', () => {
  expect(nearest('replicsa', ['name', 'replicas', 'mode'])).toBe('replicas');
});
