import { newestVersion, type PayloadKind, payloadTables, versionsOf } from '@swarmctl/shared/model';
import { type Client, isNotFound } from './client.ts';
import { apiFilters } from './runtime.ts';

// Secrets and configs as the API shows them, and which one a name stands for.

export interface ShownPayload {
  readonly ID: string;
  readonly CreatedAt: string;
  readonly UpdatedAt: string;
  readonly Spec: {
    readonly Name: string;
    readonly Labels: Readonly<Record<string, string>>;
    /** base64; of configs alone. */
    readonly Data?: string;
    readonly Templating?: { readonly Name?: string };
  };
}

const pathOf = (kind: PayloadKind, reference: string) => `/${payloadTables[kind]}/${encodeURIComponent(reference)}`;

export const getPayload = (client: Client, kind: PayloadKind, reference: string): Promise<ShownPayload> =>
  client.get<ShownPayload>(pathOf(kind, reference));

/** Those whose names begin so, all versions among them. */
const likeNamed = (client: Client, kind: PayloadKind, name: string): Promise<ShownPayload[]> =>
  client.get<ShownPayload[]>(`/${payloadTables[kind]}`, { filters: apiFilters(undefined, { name: [name] }) });

/** The newest version of that name; else the one of that name or id. Rejects when there is none. */
export async function resolvePayload(client: Client, kind: PayloadKind, reference: string): Promise<ShownPayload> {
  return (
    newestVersion(await likeNamed(client, kind, reference), reference) ?? (await getPayload(client, kind, reference))
  );
}

/** The names of all versions of it, itself among them although it is gone. */
export async function versionNames(client: Client, kind: PayloadKind, reference: string): Promise<string[]> {
  const versions = versionsOf(await likeNamed(client, kind, reference), reference);
  if (versions.length > 0) return [reference, ...versions.map(({ Spec }) => Spec.Name)];
  try {
    return [(await getPayload(client, kind, reference)).Spec.Name];
  } catch (error) {
    if (isNotFound(error)) return [reference];
    throw error;
  }
}
