import { publishedOptionsOf } from './labels.ts';
import type { Payload, Service } from './objects.ts';
import { newestVersion } from './payloads.ts';

// The secrets that published ports of HTTP take their certificates from. Labels name them, so that a new version needs no change of a service.

/** The names that each port's certificate is put together from, those of equal ports once. */
export function certificatesOf({ EndpointSpec, Labels = {} }: Partial<Service['Spec']>): (readonly string[])[] {
  // Most have none.
  if (!Object.keys(Labels).some((key) => key.startsWith('swarmctl.http.tls'))) return [];
  const ports = (EndpointSpec?.Ports ?? []).filter((port) => port.PublishMode !== 'host');
  const all = ports.flatMap((port) => {
    const names = publishedOptionsOf(Labels, port).http?.tls ?? [];
    return names.length > 0 ? [[names.join(), names] as const] : [];
  });
  return [...new Map(all).values()];
}

/** Names, each once. */
export const certificateNames = (spec: Partial<Service['Spec']>): string[] => [...new Set(certificatesOf(spec).flat())];

/** What a name stands for: its newest version, or the one version that is called so. */
export const payloadNamed = <T extends Pick<Payload, 'Spec'>>(all: readonly T[], name: string): T | undefined =>
  newestVersion(all, name) ?? all.find(({ Spec }) => Spec.Name === name);
