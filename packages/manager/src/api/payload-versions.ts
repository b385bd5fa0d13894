import { ClusterError, isClusterError } from '@swarmctl/shared/kit';
import {
  completePayloadSpec,
  newestVersion,
  normalise,
  type Payload,
  type PayloadKind,
  PayloadSpec,
  parseJson,
  payloadTables,
  type Service,
  type StoreChange,
  versionName,
  versionOf,
  versionOfLabel,
  versionsOf,
  withPullAuth,
} from '@swarmctl/shared/model';
import type { FastifyInstance } from 'fastify';
import type { View } from '../store/types.ts';
import { checkFollowed } from './certificate-use.ts';
import { type ApiContext, leading } from './context.ts';
import { findPayload, invalid, isNeeded } from './payload-use.ts';
import type { ManagerAccess } from './ports.ts';
import { flag, type Query } from './query.ts';
import type { Turns } from './turns.ts';

// Rotation, which Docker has no word for: a new version of a secret or a config, and all services that use an older one moved to it, in one
// write. Their updates roll as their specs say, and a rollback goes back to the version before. The request is a spec without a name; its labels
// come beside those of the version before, whose templating holds unless another is given. `dryRun` answers the same and writes nothing.

/** The updater and the allocator write to services, too. */
const attempts = 5;

export function payloadVersionRoutes(kind: PayloadKind, app: FastifyInstance, context: ApiContext, turns: Turns): void {
  const table = payloadTables[kind];

  app.post<{ Params: { id: string }; Querystring: Query }>(
    `/${table}/:id/rotate`,
    { config: { leaderOnly: true } },
    async (request, reply) => {
      const given = normalise(PayloadSpec, parseJson(request.body as Buffer) ?? {});
      if (given.Name) throw invalid('the name of a new version follows from the one before: leave Name out');
      const roll = request.query['roll'] === undefined || flag(request.query, 'roll');
      const dryRun = flag(request.query, 'dryRun');
      const manager = await leading(context);
      const base = baseOf(manager.view(), kind, request.params.id);
      const id = context.newId();
      const rotated = await turns.take(() =>
        retried(async () => {
          const next = nextVersion(manager.view(), kind, base, { ...given, ID: id });
          const warnings = next.isNew ? checkFollowed(manager.view(), kind, next.object) : [];
          const moved = roll ? movedServices(context, manager.view(), kind, base, next.object) : [];
          const changes: StoreChange[] = [
            ...(next.isNew ? [{ op: 'create', table, object: next.object } as const] : []),
            ...moved.map(({ change }) => change),
          ];
          if (changes.length > 0 && !dryRun) await propose(manager, changes, moved.length);
          return { ...next, moved, warnings };
        }),
      );
      const { ID, Spec } = rotated.object;
      const Services = rotated.moved.map(({ service }) => ({ ID: service.ID, Name: service.Spec.Name }));
      return reply
        .status(rotated.isNew && !dryRun ? 201 : 200)
        .send({ ID, Name: Spec.Name, Created: rotated.isNew, Services, Warnings: rotated.warnings });
    },
  );

  app.post(`/${table}/prune`, { config: { leaderOnly: true } }, async () => {
    const manager = await leading(context);
    return turns.take(async () => {
      const view = manager.view();
      const all = view.list(table);
      const newest = new Set(all.flatMap(({ Spec }) => newestVersion(all, versionOf(Spec).base)?.ID ?? []));
      const doomed = all.filter(({ ID }) => !newest.has(ID) && !isNeeded(view, ID));
      if (doomed.length > 0) await manager.propose(doomed.map(({ ID }) => ({ op: 'remove', table, id: ID })));
      return { Deleted: doomed.map(({ Spec }) => Spec.Name) };
    });
  });
}

/** A name that versions share counts although its first version may be gone. */
function baseOf(view: View, kind: PayloadKind, reference: string): string {
  const newest = newestVersion(view.list(payloadTables[kind]), reference);
  return versionOf((newest ?? findPayload(view, kind, reference)).Spec).base;
}

type Version = Pick<Payload, 'ID' | 'Spec'>;

/** The newest one itself when it holds just that. */
function nextVersion(
  view: View,
  kind: PayloadKind,
  base: string,
  given: PayloadSpec & { readonly ID: string },
): { readonly object: Version; readonly isNew: boolean } {
  const table = payloadTables[kind];
  const newest = newestVersion(view.list(table), base);
  if (!newest) throw new ClusterError('not-found', `${kind} ${base} not found`);
  let { number } = versionOf(newest.Spec);
  let Name: string;
  do Name = versionName({ base, number: ++number });
  while (view.payloadByName(table, Name));
  const templating = given.Templating ?? newest.Spec.Templating;
  const { ID, ...wanted } = given;
  const Spec = completePayloadSpec(kind, {
    ...wanted,
    Name,
    Labels: { ...newest.Spec.Labels, ...given.Labels, [versionOfLabel]: base },
    ...(templating && { Templating: templating }),
  });
  const isSame = Spec.Data === newest.Spec.Data && Spec.Templating?.Name === newest.Spec.Templating?.Name;
  return isSame ? { object: newest, isNew: false } : { object: { ID, Spec }, isNew: true };
}

interface Moved {
  readonly service: Service;
  readonly change: StoreChange;
}

function movedServices(context: ApiContext, view: View, kind: PayloadKind, base: string, to: Version): Moved[] {
  const numbers = new Map(
    versionsOf(view.list(payloadTables[kind]), base).map(({ ID, Spec }) => [ID, versionOf(Spec).number]),
  );
  return view.list('services').flatMap((service) => {
    const Spec = movedSpec(service.Spec, kind, numbers, to);
    if (!Spec) return [];
    const set = {
      Spec,
      SpecVersion: context.newId(),
      PreviousSpec: service.Spec,
      PreviousSpecVersion: service.SpecVersion,
      ...withPullAuth(service, service.PullAuth?.Spec),
    };
    const { ID: id, Version } = service;
    return [
      {
        service,
        change: { op: 'update', table: 'services', id, version: Version.Index, set, unset: ['UpdateStatus'] },
      },
    ];
  });
}

/** With the newest version that it uses replaced; an older one that it uses beside stays. Undefined: nothing is to change. */
function movedSpec(
  spec: Service['Spec'],
  kind: PayloadKind,
  numbers: ReadonlyMap<string, number>,
  to: Version,
): Service['Spec'] | undefined {
  const container = spec.TaskTemplate.ContainerSpec ?? {};
  const { Secrets: secrets = [], Configs: configs = [] } = container;
  const numberOf = (id: string | undefined) => numbers.get(id ?? '') ?? 0;
  const ids = kind === 'secret' ? secrets.map((one) => one.SecretID) : configs.map((one) => one.ConfigID);
  const from = Math.max(0, ...ids.map(numberOf));
  if (from === 0 || from === numbers.get(to.ID)) return undefined;
  const moved =
    kind === 'secret'
      ? {
          Secrets: secrets.map((one) =>
            numberOf(one.SecretID) === from ? { ...one, SecretID: to.ID, SecretName: to.Spec.Name } : one,
          ),
        }
      : {
          Configs: configs.map((one) =>
            numberOf(one.ConfigID) === from ? { ...one, ConfigID: to.ID, ConfigName: to.Spec.Name } : one,
          ),
        };
  return { ...spec, TaskTemplate: { ...spec.TaskTemplate, ContainerSpec: { ...container, ...moved } } };
}

async function propose(manager: ManagerAccess, changes: readonly StoreChange[], services: number): Promise<void> {
  try {
    await manager.propose(changes);
  } catch (error) {
    if (!isClusterError(error, 'invalid-argument') || services === 0) throw error;
    const help = `the new version and ${services} services do not fit into one write; make the version alone, and update the services one by one`;
    throw new ClusterError('invalid-argument', `${error.message}: ${help}`, error.data, error);
  }
}

/** Decided anew when a service was written to meanwhile. */
async function retried<T>(act: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await act();
    } catch (error) {
      if (!isClusterError(error, 'out-of-sequence') || attempt >= attempts) throw error;
    }
  }
}
