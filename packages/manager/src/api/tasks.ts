import {
  isDirty,
  isTaskState,
  nodeMeets,
  parseConstraints,
  placeName,
  type Task,
  taskName,
} from '@swarmctl/shared/model';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { View } from '../store/types.ts';
import { type ApiContext, leading, managerOf, readView } from './context.ts';
import { forwardedBy, forwardToLeader } from './forward.ts';
import { logOptions, sendKeptLogs, sendLogs } from './logs.ts';
import { findNode } from './nodes.ts';
import { taskText } from './projection.ts';
import { checkValues, type Filters, filtersOf, flag, lookUp, passes, passesLabels, type Query } from './query.ts';
import { findService } from './services.ts';
import { minorOf } from './version.ts';

// Tasks and their logs, read-only: tasks are made by the orchestrators alone.

const knownFilters = ['desired-state', 'id', 'label', 'name', 'node', 'service', 'runtime', '_up-to-date'];

export function taskRoutes(app: FastifyInstance, context: ApiContext): void {
  app.get<{ Querystring: Query }>('/tasks', async (request, reply) => {
    const filters = filtersOf(request.query, knownFilters);
    checkValues(filters, 'desired-state', isTaskState);
    const view = await readView(context);
    const texts = selectTasks(view, filters).map((task) => taskText(task, view, minorOf(request)));
    return reply.type('application/json; charset=utf-8').send(`[${texts.join(',')}]\n`);
  });

  app.get<{ Params: { id: string } }>('/tasks/:id', async (request, reply) => {
    const view = await readView(context);
    const text = taskText(findTask(view, request.params.id), view, minorOf(request));
    return reply.type('application/json; charset=utf-8').send(`${text}\n`);
  });

  app.get<{ Params: { id: string }; Querystring: Query }>('/tasks/:id/logs', async (request, reply) => {
    const { id } = request.params;
    const options = logOptions(request.query, context.clock.now());
    if (!isFollowed(request) && (await isForwarded(context, request, reply))) return reply;
    const view = await readView(context);
    if (isId(id) && !view.get('tasks', id)) {
      if (await isForwarded(context, request, reply)) return reply;
      if (await sendKeptLogs(context, await leading(context), { taskId: id, options }, request, reply)) return reply;
    }
    const task = findTask(view, id);
    const tty = task.Spec.ContainerSpec?.TTY === true;
    return sendLogs(context, { subject: { taskId: task.ID }, options }, tty, request, reply);
  });

  app.get<{ Params: { id: string }; Querystring: Query }>('/services/:id/logs', async (request, reply) => {
    const options = logOptions(request.query, context.clock.now());
    if (!isFollowed(request) && (await isForwarded(context, request, reply))) return reply;
    const service = findService(await readView(context), request.params.id);
    const tty = service.Spec.TaskTemplate.ContainerSpec?.TTY === true;
    return sendLogs(context, { subject: { serviceId: service.ID }, options }, tty, request, reply);
  });
}

/** One that another manager passed on is the leader's. */
const isFollowed = ({ query, headers }: FastifyRequest<{ Querystring: Query }>): boolean =>
  flag(query, 'follow') && headers[forwardedBy] === undefined;

/** To the leader, unless this manager is. */
async function isForwarded(context: ApiContext, request: FastifyRequest, reply: FastifyReply): Promise<boolean> {
  if (!managerOf(context).isLeader()) await forwardToLeader(context, request, reply);
  return reply.sent;
}

const isId = (text: string): boolean => /^[0-9a-z]{25}$/.test(text);

/** By id, by `web.1.ID`, or by `web.1` when there is one such task alone. */
export const findTask = (view: View, reference: string): Task =>
  lookUp(
    'task',
    reference,
    (id) => view.get('tasks', id),
    view.list('tasks'),
    (task) => (taskName(task) === reference ? reference : placeName(task)),
  );

function selectTasks(view: View, filters: Filters): readonly Task[] {
  const services = resolve(filters.get('service'), (reference) => findService(view, reference).ID);
  const nodes = resolve(filters.get('node'), (reference) => findNode(view, reference).ID);
  const candidates = services
    ? [...services].flatMap((id) => view.tasksOfService(id))
    : nodes
      ? [...nodes].flatMap((id) => view.tasksOfNode(id))
      : view.list('tasks');
  const hasLabels = byService(view, (labels) => passesLabels(filters, 'label', labels));
  return candidates.filter(
    (task) =>
      hasLabels(task) &&
      (!nodes || nodes.has(task.NodeID ?? '')) &&
      passes(filters, 'id', (id) => task.ID.startsWith(id)) &&
      passes(filters, 'name', (name) => taskName(task).startsWith(name)) &&
      passes(filters, 'runtime', (runtime) => runtime === 'container') &&
      passes(filters, 'desired-state', (state) => {
        const wanted = state.toLowerCase();
        return task.DesiredState === wanted || (wanted === 'shutdown' && task.DesiredState === 'remove');
      }) &&
      // Whatever it says, as in Docker.
      passes(filters, '_up-to-date', () => upToDate(view, task)),
  );
}

/** The labels of a task are its service's, looked at once: `docker stack rm` asks without a pause. Of a service that is gone each task has kept them. */
function byService(view: View, test: (labels: Readonly<Record<string, string>>) => boolean): (task: Task) => boolean {
  const known = new Map<string, boolean>();
  return ({ ServiceID, ServiceAnnotations }) => {
    let verdict = known.get(ServiceID);
    if (verdict === undefined) {
      const service = view.get('services', ServiceID);
      if (!service) return test(ServiceAnnotations.Labels);
      verdict = test(service.Spec.Labels);
      known.set(ServiceID, verdict);
    }
    return verdict;
  };
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
