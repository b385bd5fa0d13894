import { publishedOptionsOf } from './labels.ts';
import type { Payload, Service } from './objects.ts';
import { newestVersion } from './payloads.ts';

// The secrets that published ports of HTTP take their certificates from. Labels name them, so that a new version needs no change of a service.

/** Names, each once. */
export function certificateNames({ EndpointSpec, Labels = {} }: Partial<Service['Spec']>): string[] {
  // Most have none.
  if (!Object.keys(Labels).some((key) => key.startsWith('swarmctl.http.tls'))) return [];
  const ports = (EndpointSpec?.Ports ?? []).filter((port) => port.PublishMode !== 'host');
  return [...new Set(ports.flatMap((port) => publishedOptionsOf(Labels, port).http?.tls ?? []))];
}

/** What a name stands for: its newest version, or the one version that is called so. */
export const payloadNamed = <T extends Payload>(all: readonly T[], name: string): T | undefined =>
  newestVersion(all, name) ?? all.find(({ Spec }) => Spec.Name === name);
