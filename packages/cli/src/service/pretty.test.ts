import type { PortConfig, Service } from '@swarmctl/shared/model';
import { describe, expect, test } from 'vitest';
import { prettyService, publishedAt } from './pretty.ts';

const port: PortConfig = { PublishedPort: 8080, TargetPort: 80, Protocol: 'tcp', PublishMode: 'ingress' };
const service = (Labels: Record<string, string>): Service =>
  ({
    ID: 's1',
    Spec: { Name: 'web', Labels, TaskTemplate: { ContainerSpec: { Image: 'web:1' } }, Mode: { Global: {} } },
    Endpoint: { Ports: [port] },
  }) as unknown as Service;

describe('where a port is published', () => {
  test.each<[Record<string, string>, string]>([
    [{}, '*:8080->80/tcp'],
    [{ 'swarmctl.ingress.address': '10.0.0.5' }, '10.0.0.5:8080->80/tcp'],
    [{ 'swarmctl.ingress.address.8080/tcp': 'fd00::5' }, '[fd00::5]:8080->80/tcp'],
    [{ 'swarmctl.ingress.address.53/udp': '10.0.0.5' }, '*:8080->80/tcp'],
  ])('by %j is %s', (labels, expected) => {
    expect(publishedAt(service(labels), port)).toBe(expected);
  });

  test('is shown by inspect as well, where it is not everywhere', () => {
    expect(prettyService(service({ 'swarmctl.ingress.address': '10.0.0.5' }))).toContain('\n  Addresses = 10.0.0.5');
    expect(prettyService(service({}))).not.toContain('Addresses');
  });
});

test('inspect shows what the containers are given', () => {
  const given = service({});
  const TaskTemplate = {
    ContainerSpec: {
      Image: 'web:1',
      Init: false,
      Hostname: 'h',
      Hosts: ['10.0.0.9 db'],
      CapabilityAdd: ['CAP_NET_ADMIN'],
      CapabilityDrop: ['CAP_CHOWN'],
      Sysctls: { 'net.core.somaxconn': '200' },
      Ulimits: [{ Name: 'nofile', Soft: 1000, Hard: 2000 }],
      Healthcheck: { Test: ['CMD-SHELL', 'true'], Interval: 2e9, Retries: 3 },
    },
    LogDriver: { Name: 'json-file', Options: { 'max-size': '1m' } },
    Placement: { Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.zone' } }] },
  };
  const shown = prettyService({ ...given, Spec: { ...given.Spec, TaskTemplate } } as Service);
  const lines = shown.split('\n').map((line) => line.replace(/\t+/g, ' ').trim());
  for (const line of [
    'Preferences: [spread=node.labels.zone]',
    'Hostname: h',
    'Init: false',
    'Hosts: [10.0.0.9 db]',
    'Cap add: [CAP_NET_ADMIN]',
    'Cap drop: [CAP_CHOWN]',
    'Sysctls: [net.core.somaxconn=200]',
    'Ulimits: [nofile=1000:2000]',
    'Test: [CMD-SHELL, true]',
    'Interval: 2s',
    'Retries: 3',
    'Name: json-file',
    'Options: [max-size=1m]',
  ]) {
    expect(lines).toContain(line);
  }
  expect(prettyService(given)).not.toMatch(/Preferences|Healthcheck|Log Driver|Init|Ulimits/);
});
