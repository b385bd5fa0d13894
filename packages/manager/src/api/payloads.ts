import { ClusterError } from '@swarmctl/shared/kit';
import {
  checkReservedLabels,
  completePayloadSpec,
  decodeBase64,
  normalise,
  type Payload,
  type PayloadKind,
  PayloadSpec,
  parseJson,
  payloadTables,
  versionOfLabel,
} from '@swarmctl/shared/model';
import type { FastifyInstance } from 'fastify';
import { checkFollowed } from './certificate-use.ts';
import { type ApiContext, leading, readView } from './context.ts';
import { findPayload, invalid, payloadKinds, usersOf } from './payload-use.ts';
import { payloadVersionRoutes } from './payload-versions.ts';
import { metaOf } from './projection.ts';
import { filtersOf, passes, passesLabels, type Query, versionOf } from './query.ts';
import type { Turns } from './turns.ts';
import { checkTemplatingKnown, minorOf } from './version.ts';

// Secrets and configs: alike in everything but that a secret's data never leaves by here.

export function payloadRoutes(app: FastifyInstance, context: ApiContext, turns: Turns): void {
  for (const kind of payloadKinds) {
    routesOf(kind, app, context, turns);
    payloadVersionRoutes(kind, app, context, turns);
  }
}

function routesOf(kind: PayloadKind, app: FastifyInstance, context: ApiContext, turns: Turns): void {
  const table = payloadTables[kind];

  app.get<{ Querystring: Query }>(`/${table}`, async (request) => {
    const filters = filtersOf(request.query, ['id', 'label', 'name', 'names']);
    const view = await readView(context);
    return view
      .list(table)
      .filter(
        ({ ID, Spec }) =>
          passes(filters, 'id', (id) => ID.startsWith(id)) &&
          passes(filters, 'name', (name) => Spec.Name.startsWith(name)) &&
          passes(filters, 'names', (name) => Spec.Name === name) &&
          passesLabels(filters, 'label', Spec.Labels),
      )
      .map((payload) => showPayload(kind, payload));
  });

  app.get<{ Params: { id: string } }>(`/${table}/:id`, async (request) =>
    showPayload(kind, findPayload(await readView(context), kind, request.params.id)),
  );

  app.post(`/${table}/create`, { config: { leaderOnly: true } }, async (request, reply) => {
    const given = normalise(PayloadSpec, parseJson(request.body as Buffer) ?? {});
    checkTemplatingKnown(minorOf(request), kind, given);
    const Spec = completePayloadSpec(kind, given);
    const manager = await leading(context);
    const id = context.newId();
    await turns.take(async () => {
      if (manager.view().payloadByName(table, Spec.Name)) {
        throw new ClusterError(
          'already-exists',
          `rpc error: code = AlreadyExists desc = ${kind} ${Spec.Name} already exists`,
        );
      }
      checkFollowed(manager.view(), kind, { ID: id, Spec });
      await manager.propose([{ op: 'create', table, object: { ID: id, Spec } }]);
    });
    return reply.status(201).send({ ID: id });
  });

  app.post<{ Params: { id: string }; Querystring: Query }>(
    `/${table}/:id/update`,
    { config: { leaderOnly: true } },
    async (request, reply) => {
      const version = versionOf(request.query, kind);
      const given = normalise(PayloadSpec, parseJson(request.body as Buffer) ?? {});
      const manager = await leading(context);
      const payload = findPayload(manager.view(), kind, request.params.id);
      const Spec = { ...payload.Spec, Labels: updatedLabels(kind, payload, given) };
      await manager.propose([{ op: 'update', table, id: payload.ID, version, set: { Spec } }]);
      return reply.status(200).send();
    },
  );

  app.delete<{ Params: { id: string } }>(`/${table}/:id`, { config: { leaderOnly: true } }, async (request, reply) => {
    const manager = await leading(context);
    await turns.take(async () => {
      const { ID, Spec } = findPayload(manager.view(), kind, request.params.id);
      const users = usersOf(manager.view(), ID).map((service) => service.Spec.Name);
      if (users.length > 0) {
        throw invalid(
          `${kind} '${Spec.Name}' is in use by the following ${users.length === 1 ? 'service' : 'services'}: ${users.join(', ')}`,
        );
      }
      await manager.propose([{ op: 'remove', table, id: ID }]);
    });
    return reply.status(204).send();
  });
}

/** Nothing else of a secret or a config ever changes. What a client leaves out stays, the mark of a version too. */
function updatedLabels(kind: PayloadKind, { Spec }: Payload, given: PayloadSpec): Payload['Spec']['Labels'] {
  const mark = Spec.Labels[versionOfLabel];
  const isSame =
    given.Name === Spec.Name &&
    (kind === 'config' || given.Driver === undefined) &&
    (!given.Data || decodeBase64(given.Data).toString('base64') === Spec.Data) &&
    (given.Templating?.Name ?? Spec.Templating?.Name) === Spec.Templating?.Name &&
    (given.Labels?.[versionOfLabel] ?? mark) === mark;
  if (!isSame) throw invalid('only updates to Labels are allowed');
  const labels = { ...given.Labels, ...(mark !== undefined && { [versionOfLabel]: mark }) };
  checkReservedLabels(kind, labels);
  return labels;
}

function showPayload(kind: PayloadKind, payload: Payload) {
  const { Name, Labels, Data, Templating } = payload.Spec;
  return {
    ...metaOf(payload),
    Spec: { Name, Labels, ...(kind === 'config' && { Data }), ...(Templating && { Templating }) },
  };
}
