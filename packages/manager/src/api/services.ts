import { ClusterError } from '@swarmctl/shared/kit';
import {
  checkAllowed,
  completeServiceSpec,
  isJobMode,
  normalise,
  parseJson,
  payloadReferences,
  type Service,
  ServiceSpec,
  toTimestamp,
  withContainerFields,
  withPullAuth,
} from '@swarmctl/shared/model';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { View } from '../store/types.ts';
import { checkCertificates } from './certificate-use.ts';
import { type ApiContext, clusterOf, leading, readView } from './context.ts';
import { checkIngress } from './ingress-network.ts';
import { randomName } from './names.ts';
import { withNetworkIds } from './networks.ts';
import { checkPayloadsExist } from './payload-use.ts';
import type { ManagerAccess } from './ports.ts';
import { serviceText } from './projection.ts';
import { filtersOf, lookUp, passes, passesLabels, type Query, single, strictFlag, versionOf } from './query.ts';
import { authIn, nextPullAuth, type Pinned, pinned } from './registry/index.ts';
import { serviceWarnings } from './service-warnings.ts';
import type { Turns } from './turns.ts';
import { minorOf, serviceAsOf } from './version.ts';

// Services: the wanted state. Each write is one checked spec and one proposal.

export function serviceRoutes(app: FastifyInstance, context: ApiContext, turns: Turns): void {
  app.get<{ Querystring: Query }>('/services', async (request, reply) => {
    const filters = filtersOf(request.query, ['id', 'label', 'mode', 'name', 'runtime']);
    const view = await readView(context);
    const options = {
      insertDefaults: strictFlag(request.query, 'insertDefaults'),
      status: minorOf(request) >= 41 && strictFlag(request.query, 'status'),
    };
    const texts = view
      .list('services')
      .filter(
        (service) =>
          passes(filters, 'id', (id) => service.ID.startsWith(id)) &&
          passes(filters, 'name', (name) => service.Spec.Name.startsWith(name)) &&
          passes(filters, 'mode', (mode) => modeOf(service.Spec) === mode) &&
          passes(filters, 'runtime', (runtime) => runtime === 'container') &&
          passesLabels(filters, 'label', service.Spec.Labels),
      )
      .map((service) => serviceText(service, view, options));
    return reply.type('application/json; charset=utf-8').send(`[${texts.join(',')}]\n`);
  });

  app.get<{ Params: { id: string }; Querystring: Query }>('/services/:id', async (request, reply) => {
    const view = await readView(context);
    const options = { insertDefaults: strictFlag(request.query, 'insertDefaults') };
    const text = serviceText(findService(view, request.params.id), view, options);
    return reply.type('application/json; charset=utf-8').send(`${text}\n`);
  });

  app.post<{ Querystring: Query }>('/services/create', { config: { leaderOnly: true } }, async (request, reply) => {
    const given = specIn(request);
    const named = { ...given, Name: given.Name || randomName(context.random) };
    const complete = completeServiceSpec(named);
    const pullAuth = nextPullAuth(request, context.newId);
    const manager = await leading(context);
    const view = manager.view();
    if (view.serviceByName(complete.Name)) {
      throw new ClusterError(
        'already-exists',
        `rpc error: code = AlreadyExists desc = name conflicts with an existing object: service ${complete.Name} already exists`,
      );
    }
    checkAllowed(complete.Labels, clusterOf(view).Spec.Labels);
    const { spec, warning } = await pinned(context.registries, complete, authIn(pullAuth), minorOf(request));
    const id = context.newId();
    const SpecVersion = context.newId();
    await inTurn(turns, spec, async () => {
      checkPorts(manager, spec);
      checkPayloadsExist(manager.view(), spec);
      checkCertificates(manager.view(), spec);
      const JobStatus = isJobMode(spec.Mode) && {
        JobIteration: { Index: 0 },
        LastExecution: toTimestamp(context.clock.now()),
      };
      const object = {
        ...{ ID: id, Spec: withNetworkIds(manager.view(), spec), SpecVersion, Endpoint: { Spec: {} } },
        ...(JobStatus && { JobStatus }),
        ...withPullAuth({}, pullAuth),
      };
      await manager.propose([{ op: 'create', table: 'services', object }]);
    });
    return reply.status(201).send({ ID: id, Warnings: serviceWarnings(manager.view(), spec, warning) });
  });

  app.post<{ Params: { id: string }; Querystring: Query }>(
    '/services/:id/update',
    { config: { leaderOnly: true } },
    async (request, reply) => {
      const specReadAt = versionOf(request.query, 'service');
      const rollback = single(request.query, 'rollback') ?? '';
      if (rollback !== '' && rollback !== 'none' && rollback !== 'previous') {
        throw new ClusterError('unknown', `unrecognized rollback option ${rollback}`);
      }
      const given = specIn(request);
      const manager = await leading(context);
      const view = manager.view();
      const service = findService(view, request.params.id);
      const pullAuth = nextPullAuth(request, context.newId, service);
      const pin = (spec: Service['Spec']) => pinned(context.registries, spec, authIn(pullAuth), minorOf(request));
      const { warning, ...set } =
        rollback === 'previous'
          ? { ...rolledBack(context, service), warning: undefined }
          : { ...(await updated(context, service, given, pin)), ...withPullAuth(service, pullAuth) };
      checkAllowed(set.Spec.Labels, clusterOf(view).Spec.Labels);
      await inTurn(turns, set.Spec, async () => {
        checkPorts(manager, set.Spec, service.ID);
        checkPayloadsExist(manager.view(), set.Spec);
        checkCertificates(manager.view(), set.Spec);
        const Spec = withNetworkIds(manager.view(), set.Spec);
        await manager.propose([
          {
            op: 'update',
            table: 'services',
            id: service.ID,
            specReadAt,
            set: { ...set, Spec, ...startedAnew(context, service) },
            ...('UpdateStatus' in set ? {} : { unset: ['UpdateStatus'] as const }),
          },
        ]);
      });
      return reply.status(200).send({ Warnings: serviceWarnings(manager.view(), set.Spec, warning) });
    },
  );

  app.delete<{ Params: { id: string } }>('/services/:id', { config: { leaderOnly: true } }, async (request, reply) => {
    const manager = await leading(context);
    const service = findService(manager.view(), request.params.id);
    await manager.propose([{ op: 'remove', table: 'services', id: service.ID }]);
    return reply.status(200).send();
  });
}

function specIn(request: FastifyRequest): ServiceSpec {
  const body = parseJson(request.body as Buffer);
  return serviceAsOf(minorOf(request), withContainerFields(normalise(ServiceSpec, body), body));
}

export const findService = (view: View, reference: string): Service =>
  lookUp(
    'service',
    reference,
    (id) => view.get('services', id),
    view.list('services'),
    (service) => service.Spec.Name,
  );

/** As the `mode` filter says it. */
export function modeOf({ Mode }: ServiceSpec): string {
  if (Mode?.ReplicatedJob) return 'replicated-job';
  if (Mode?.GlobalJob) return 'global-job';
  return Mode?.Global ? 'global' : 'replicated';
}

/** Each change of a job's spec is another execution. */
const startedAnew = (context: ApiContext, { JobStatus: last }: Service): Pick<Service, 'JobStatus'> =>
  last
    ? {
        JobStatus: {
          JobIteration: { Index: last.JobIteration.Index + 1 },
          LastExecution: toTimestamp(context.clock.now()),
        },
      }
    : {};

/** What is checked against other objects waits for its turn. */
const inTurn = (turns: Turns, spec: ServiceSpec, write: () => Promise<void>): Promise<void> =>
  spec.EndpointSpec?.Ports?.length ||
  spec.TaskTemplate?.Networks?.length ||
  payloadReferences(spec.TaskTemplate?.ContainerSpec).length > 0
    ? turns.take(write)
    : write();

function checkPorts(manager: ManagerAccess, spec: Service['Spec'], selfId?: string): void {
  checkIngress(manager.view(), spec);
  const conflict = manager.portConflict(manager.view(), spec, selfId);
  if (conflict) throw new ClusterError('invalid-argument', `rpc error: code = InvalidArgument desc = ${conflict}`);
}

async function updated(
  context: ApiContext,
  service: Service,
  given: ServiceSpec,
  pin: (spec: Service['Spec']) => Promise<Pinned>,
) {
  // Docker gives a spec without a name one, which is another.
  const complete = completeServiceSpec({ ...given, Name: given.Name || service.Spec.Name });
  if (given.Name !== service.Spec.Name) {
    throw new ClusterError(
      'unimplemented',
      'rpc error: code = Unimplemented desc = renaming services is not supported',
    );
  }
  if (modeOf(complete) !== modeOf(service.Spec)) {
    throw new ClusterError(
      'unimplemented',
      'rpc error: code = Unimplemented desc = service mode change is not allowed',
    );
  }
  const { spec, warning } = await pin(complete);
  return {
    warning,
    Spec: spec,
    SpecVersion: context.newId(),
    PreviousSpec: service.Spec,
    PreviousSpecVersion: service.SpecVersion,
  };
}

/** The two specs change places, versions included, so that tasks of the old one count as up to date again. */
function rolledBack(context: ApiContext, service: Service) {
  if (!service.PreviousSpec) {
    throw new ClusterError(
      'failed-precondition',
      `rpc error: code = FailedPrecondition desc = service ${service.ID} does not have a previous spec`,
    );
  }
  return {
    Spec: service.PreviousSpec,
    SpecVersion: service.PreviousSpecVersion ?? context.newId(),
    PreviousSpec: service.Spec,
    PreviousSpecVersion: service.SpecVersion,
    ...withPullAuth(service, service.PullAuth?.PreviousSpec),
    UpdateStatus: {
      State: 'rollback_started' as const,
      StartedAt: toTimestamp(context.clock.now()),
      Message: 'manually requested rollback',
    },
  };
}
