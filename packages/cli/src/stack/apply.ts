import { payloadTables, type Service, type ServiceSpec } from '@swarmctl/shared/model';
import { ApiError, type Client, isNotFound } from '../client.ts';
import { keyOf, rotate } from './current.ts';
import { differences } from './diff.ts';
import {
  filledSpec,
  type PayloadIds,
  type PayloadPlan,
  type Plan,
  type Removal,
  type ServicePlan,
  updatedSpec,
} from './plan.ts';

// Does what was planned, in an order in which each step finds what it needs: services that go make room first, what they had goes last.

export interface ApplyModules {
  readonly client: Client;
  /** A line a step, before it is done. */
  say(line: string): void;
  warn(line: string): void;
  /** What is sent with a service of this image: the credentials of its registry, if they are to be handed over. */
  headers(image: string): Readonly<Record<string, string>>;
  /** Called before a service is made or changed; resolves when it may be. */
  ready(service: ServicePlan, ids: ReadonlyMap<string, string>): Promise<void>;
}

/** The ids of the stack's services, by their keys. */
export async function apply(plan: Plan, modules: ApplyModules): Promise<ReadonlyMap<string, string>> {
  const { client, say, warn } = modules;
  const [services, rest] = [true, false].map((isService) =>
    plan.removals.filter(({ what }) => (what === 'service') === isService),
  );
  for (const removal of services ?? []) await remove(client, removal, say);
  for (const { name, request } of plan.networks) {
    say(`Creating network ${name}`);
    const { Warning } = await client.post<{ Warning?: string }>('/networks/create', request);
    if (Warning) warn(`network ${name}: ${Warning}`);
  }
  const known = new Map<string, { ID: string; Name: string }>();
  for (const one of plan.payloads) known.set(keyOf(one.payload), await settle(one, modules));
  const payloads: PayloadIds = (kind, name) => known.get(keyOf({ kind, name })) ?? { ID: '', Name: name };
  const ids = new Map<string, string>();
  for (const one of plan.services) {
    await modules.ready(one, ids);
    ids.set(one.service.key, await write(one, payloads, modules));
  }
  for (const removal of rest ?? []) await remove(client, removal, say);
  return ids;
}

async function settle({ payload, act, stored, versionName }: PayloadPlan, { client, say }: ApplyModules) {
  const { kind, name, spec } = payload;
  const table = payloadTables[kind];
  switch (act) {
    case 'keep':
      return { ID: stored?.ID ?? '', Name: versionName };
    case 'create': {
      say(`Creating ${kind} ${name}`);
      const { ID } = await client.post<{ ID: string }>(`/${table}/create`, spec);
      return { ID, Name: name };
    }
    case 'rotate':
      say(`Rotating ${kind} ${name} to ${versionName}`);
      return rotate(client, payload, { dryRun: false });
    case 'label': {
      say(`Updating ${kind} ${versionName}`);
      const body = { Name: versionName, Labels: spec?.Labels };
      await client.post(`/${table}/${stored?.ID}/update`, body, { version: stored?.Version.Index });
      return { ID: stored?.ID ?? '', Name: versionName };
    }
    default:
      return act satisfies never;
  }
}

/** The service's id. */
async function write(
  { service, stored, differences }: ServicePlan,
  payloads: PayloadIds,
  { client, say, warn, headers }: ApplyModules,
): Promise<string> {
  const told = ({ Warnings }: { Warnings?: readonly string[] | null }) => {
    for (const warning of Warnings ?? []) warn(`service ${service.name}: ${warning}`);
  };
  if (!stored) {
    say(`Creating service ${service.name}`);
    const spec = filledSpec(service.spec, payloads);
    const answer = await client.post<{ ID: string; Warnings?: string[] }>(
      '/services/create',
      spec,
      {},
      headers(imageOf(spec)),
    );
    told(answer);
    return answer.ID;
  }
  if (differences.length === 0) {
    say(`Service ${service.name} stays as it is`);
    return stored.ID;
  }
  say(`Updating service ${service.name} (id: ${stored.ID})`);
  const spec = updatedSpec(service, stored, payloads);
  told(await update(client, stored, spec, headers(imageOf(spec))));
  return stored.ID;
}

const imageOf = (spec: ServiceSpec): string => spec.TaskTemplate?.ContainerSpec?.Image ?? '';

/** What the cluster itself writes meanwhile is no reason to stop; a spec that somebody else wrote is. */
async function update(
  client: Client,
  stored: Service,
  spec: ServiceSpec,
  headers: Readonly<Record<string, string>>,
): Promise<{ Warnings?: string[] | null }> {
  for (let attempt = 1; ; attempt++) {
    const { Version, Spec } = await client.get<Service>(`/services/${stored.ID}`, { insertDefaults: false });
    if (differences(stored.Spec, Spec).length > 0) {
      throw new Error(`service ${stored.Spec.Name} was changed by somebody else meanwhile; deploy again`);
    }
    try {
      return await client.post(`/services/${stored.ID}/update`, spec, { version: Version.Index }, headers);
    } catch (error) {
      const isStale = error instanceof ApiError && error.message.includes('out of sequence');
      if (!isStale || attempt >= attempts) throw error;
    }
  }
}

const attempts = 5;

/** One that is gone already is what was wanted. */
export async function remove(client: Client, { what, id, name }: Removal, say: (line: string) => void): Promise<void> {
  say(`Removing ${what} ${name}`);
  try {
    await client.delete(`/${what}s/${id}`);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}
