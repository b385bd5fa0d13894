import { describe, expect, test } from 'vitest';
import {
  checkReservedLabels,
  drainTimeoutMsOf,
  hasStableAddress,
  labelNamed,
  nearest,
  parseDurationMs,
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
