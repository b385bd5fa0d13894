import { ClusterError } from '@swarmctl/shared/kit';
import { isDirty, isTaskState, nodeMeets, parseConstraints, type Task } from '@swarmctl/shared/model';
import type { FastifyInstance } from 'fastify';
import type { View } from '../store/types.ts';
import { type ApiContext, leading, readView } from './context.ts';
import { sendLogs } from './logs.ts';
import { findNode } from './nodes.ts';
import { showTask, taskText } from './projection.ts';
import { type Filters, filtersOf, lookUp, passes, passesLabels, type Query } from './query.ts';
import { findService } from './services.ts';

// Tasks and their logs, read-only: tasks are made by the orchestrators alone.

const knownFilters = ['desired-state', 'id', 'label', 'name', 'node', 'service', 'runtime', '_up-to-date'];

export function taskRoutes(app: FastifyInstance, context: ApiContext): void {
  app.get<{ Querystring: Query }>('/tasks', async (request, reply) => {
    const filters = filtersOf(request.query, knownFilters);
    for (const state of filters.get('desired-state') ?? []) {
      if (!isTaskState(state)) throw new ClusterError('unknown', `Invalid desired-state filter: '${state}'`);
    }
    const view = await readView(context);
    const texts = selectTasks(view, filters).map((task) => taskText(task, view));
    return reply.type('application/json; charset=utf-8').send(`[${texts.join(',')}]\n`);
  });

  app.get<{ Params: { id: string } }>('/tasks/:id', async (request) => {
    const view = await readView(context);
    return showTask(findTask(view, request.params.id), view);
  });

  app.get<{ Params: { id: string }; Querystring: Query }>(
    '/tasks/:id/logs',
    { config: { leaderOnly: true } },
    async (request, reply) => {
      const manager = await leading(context);
      const task = findTask(manager.view(), request.params.id);
      return sendLogs(context, manager, [task], request, reply);
    },
  );

  app.get<{ Params: { id: string }; Querystring: Query }>(
    '/services/:id/logs',
    { config: { leaderOnly: true } },
    async (request, reply) => {
      const manager = await leading(context);
      const view = manager.view();
      const service = findService(view, request.params.id);
      return sendLogs(context, manager, view.tasksOfService(service.ID), request, reply);
    },
  );
}

export const findTask = (view: View, reference: string): Task =>
  lookUp('task', reference, (id) => view.get('tasks', id), view.list('tasks'), taskName);

const taskName = (task: Task): string => `${task.ServiceAnnotations.Name}.${task.Slot ?? task.NodeID}`;

function selectTasks(view: View, filters: Filters): readonly Task[] {
  const services = resolve(filters.get('service'), (reference) => findService(view, reference).ID);
  const nodes = resolve(filters.get('node'), (reference) => findNode(view, reference).ID);
  const candidates = services
    ? [...services].flatMap((id) => view.tasksOfService(id))
    : nodes
      ? [...nodes].flatMap((id) => view.tasksOfNode(id))
      : view.list('tasks');
  return candidates.filter(
    (task) =>
      (!nodes || nodes.has(task.NodeID ?? '')) &&
      passes(filters, 'id', (id) => task.ID.startsWith(id)) &&
      passes(filters, 'name', (name) => `${taskName(task)}.${task.ID}`.startsWith(name)) &&
      passes(filters, 'runtime', (runtime) => runtime === 'container') &&
      passes(
        filters,
        'desired-state',
        (state) => task.DesiredState === state || (state === 'shutdown' && task.DesiredState === 'remove'),
      ) &&
      passes(filters, '_up-to-date', (wanted) => upToDate(view, task) === (wanted === 'true')) &&
      passesLabels(
        filters,
        'label',
        view.get('services', task.ServiceID)?.Spec.Labels ?? task.ServiceAnnotations.Labels,
      ),
  );
}

const resolve = (
  references: ReadonlySet<string> | undefined,
  find: (reference: string) => string,
): ReadonlySet<string> | undefined =>
  references && references.size > 0 ? new Set([...references].map(find)) : undefined;

/** Made from what the service asks for now, or left by its update as it is. */
function upToDate(view: View, task: Task): boolean {
  const service = view.get('services', task.ServiceID);
  const node = view.get('nodes', task.NodeID ?? '');
  const constraints = service?.Spec.TaskTemplate.Placement?.Constraints;
  const fits = () => node !== undefined && nodeMeets(node, parseConstraints(constraints));
  return service !== undefined && !isDirty(service, task, fits);
}
