import type { Service } from '@swarmctl/shared/model';
import {
  newestVersion,
  type PayloadKind,
  type PayloadSpec,
  payloadTables,
  versionOf,
  versionOfLabel,
} from '@swarmctl/shared/model';
import type { Client } from '../client.ts';
import { namespaceLabel } from '../compose/names.ts';
import type { Stack, StackPayload } from '../compose/stack.ts';
import type { ShownPayload } from '../payloads.ts';

// What a cluster has of what a stack asks for: read once, then decided from.

export interface ShownNetwork {
  readonly Id: string;
  readonly Name: string;
  readonly Driver: string;
  readonly Scope: string;
  readonly EnableIPv6: boolean;
  readonly Internal: boolean;
  readonly Attachable: boolean;
  readonly IPAM: { readonly Config?: readonly IpamConfig[] | null };
  readonly Options: Readonly<Record<string, string>> | null;
  readonly Labels: Readonly<Record<string, string>> | null;
}

export interface IpamConfig {
  readonly Subnet?: string;
  readonly Gateway?: string;
  readonly IPRange?: string;
  readonly AuxiliaryAddresses?: Readonly<Record<string, string>>;
}

/** Versioned, as everything that is updated. */
export type StoredPayload = ShownPayload & { readonly Version: { readonly Index: number } };

export interface Current {
  /** Of the cluster itself: they say what its services may have. */
  readonly labels: Readonly<Record<string, string>>;
  readonly services: readonly Service[];
  readonly networks: readonly ShownNetwork[];
  readonly payloads: Readonly<Record<PayloadKind, readonly StoredPayload[]>>;
  /** Names of payloads whose newest version holds something else than the files say, with the name that the next version will have. */
  readonly outdated: ReadonlyMap<string, string>;
}

/** Nothing is written. */
export async function readCurrent(client: Client, stack: Stack): Promise<Current> {
  const [cluster, services, networks, secret, config] = await Promise.all([
    client.get<{ Spec?: { Labels?: Record<string, string> | null } }>('/swarm'),
    client.get<Service[]>('/services'),
    client.get<ShownNetwork[]>('/networks'),
    client.get<StoredPayload[]>('/secrets'),
    client.get<StoredPayload[]>('/configs'),
  ]);
  const payloads = { secret, config };
  const outdated = new Map<string, string>();
  for (const payload of stack.payloads) {
    if (!payload.spec || !newestVersion(payloads[payload.kind], payload.name)) continue;
    const { Created, Name } = await rotate(client, payload, { dryRun: true });
    if (Created) outdated.set(keyOf(payload), Name);
  }
  return { labels: cluster.Spec?.Labels ?? {}, services, networks, payloads, outdated };
}

export const keyOf = ({ kind, name }: Pick<StackPayload, 'kind' | 'name'>): string => `${kind} ${name}`;

export interface Rotated {
  readonly ID: string;
  readonly Name: string;
  readonly Created: boolean;
}

/** A version more, if the content is another; the services are moved by their own update, so that they roll once. */
export function rotate(
  client: Client,
  { kind, name, spec }: StackPayload,
  { dryRun }: { dryRun: boolean },
): Promise<Rotated> {
  const path = `/${payloadTables[kind]}/${encodeURIComponent(name)}/rotate`;
  const { Data, Labels, Templating = { Name: '' } }: PayloadSpec = spec ?? {};
  return client.post<Rotated>(path, { Data, Labels, Templating }, { roll: false, dryRun });
}

export const isOf = (labels: Readonly<Record<string, string>> | null | undefined, stack: string): boolean =>
  labels?.[namespaceLabel] === stack;

/** All versions of it have one name. */
export const baseOf = ({ Spec }: ShownPayload): string => versionOf(Spec).base;

export const newestOf = (
  current: Current,
  { kind, name }: Pick<StackPayload, 'kind' | 'name'>,
): StoredPayload | undefined =>
  newestVersion(current.payloads[kind], name) ?? current.payloads[kind].find(({ ID }) => ID === name);

/** As the files have them. */
export const ownLabels = ({ Spec }: ShownPayload): Record<string, string> => {
  const { [versionOfLabel]: _mark, ...labels } = Spec.Labels;
  return labels;
};
