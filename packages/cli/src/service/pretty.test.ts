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
