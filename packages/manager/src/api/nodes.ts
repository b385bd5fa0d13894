import { ClusterError } from '@swarmctl/shared/kit';
import { checkReservedLabels, type Node, NodeSpec, normalise, parseJson } from '@swarmctl/shared/model';
import type { FastifyInstance } from 'fastify';
import type { View } from '../store/types.ts';
import { type ApiContext, leading, managerOf, readView } from './context.ts';
import { showNode } from './projection.ts';
import { checkValues, filtersOf, flag, lookUp, passes, passesLabels, type Query, versionOf } from './query.ts';

// Nodes: list, inspect, update (labels, availability, role), remove.

export function nodeRoutes(app: FastifyInstance, context: ApiContext): void {
  app.get<{ Querystring: Query }>('/nodes', async (request) => {
    const filters = filtersOf(request.query, ['id', 'label', 'membership', 'name', 'node.label', 'role']);
    checkValues(filters, 'role', (role) => role === 'manager' || role === 'worker');
    checkValues(filters, 'membership', (membership) => membership === 'accepted' || membership === 'pending');
    const view = await readView(context);
    return view
      .list('nodes')
      .filter(
        (node) =>
          passes(filters, 'id', (id) => node.ID.startsWith(id)) &&
          passes(filters, 'name', (name) => (node.Description?.Hostname ?? '').startsWith(name)) &&
          passes(filters, 'role', (role) => node.Spec.Role === role.toLowerCase()) &&
          passes(filters, 'membership', (membership) => membership.toLowerCase() === 'accepted') &&
          passesLabels(filters, 'label', node.Description?.Engine.Labels ?? {}) &&
          passesLabels(filters, 'node.label', node.Spec.Labels),
      )
      .map((node) => showNode(view, node, managerOf(context)));
  });

  app.get<{ Params: { id: string } }>('/nodes/:id', async (request) => {
    const view = await readView(context);
    return showNode(view, findNode(view, request.params.id), managerOf(context));
  });

  app.post<{ Params: { id: string }; Querystring: Query }>(
    '/nodes/:id/update',
    { config: { leaderOnly: true } },
    async (request, reply) => {
      const specReadAt = versionOf(request.query, 'node');
      const spec = normalise(NodeSpec, parseJson(request.body as Buffer) ?? {});
      const manager = await leading(context);
      const node = findNode(manager.view(), request.params.id);
      const set = { Spec: completeSpec(spec) };
      if (node.Spec.Role === 'manager' && set.Spec.Role === 'worker') checkDemotion(manager.view(), node);
      await manager.propose([{ op: 'update', table: 'nodes', id: node.ID, specReadAt, set }]);
      return reply.status(200).send();
    },
  );

  app.delete<{ Params: { id: string }; Querystring: Query }>(
    '/nodes/:id',
    { config: { leaderOnly: true } },
    async (request, reply) => {
      const manager = await leading(context);
      const node = findNode(manager.view(), request.params.id);
      if (node.ManagerStatus || node.Spec.Role === 'manager') {
        throw precondition(
          `node ${node.ID} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal`,
        );
      }
      if (!flag(request.query, 'force') && node.Status.State === 'ready') {
        throw precondition(`node ${node.ID} is not down and can't be removed`);
      }
      await manager.propose([{ op: 'remove', table: 'nodes', id: node.ID }]);
      return reply.status(200).send();
    },
  );
}

const precondition = (message: string) =>
  new ClusterError('failed-precondition', `rpc error: code = FailedPrecondition desc = ${message}`);

export const findNode = (view: View, reference: string): Node =>
  lookUp(
    'node',
    reference,
    (id) => view.get('nodes', id),
    view.list('nodes'),
    (node) => node.Description?.Hostname,
  );

function completeSpec(spec: NodeSpec): Node['Spec'] {
  const { Labels: labels = {} } = spec;
  // As in Docker, case does not matter.
  const role = (spec.Role ?? '').toLowerCase();
  const availability = (spec.Availability ?? '').toLowerCase();
  if (role !== 'worker' && role !== 'manager')
    throw new ClusterError('invalid-argument', `invalid Role: ${JSON.stringify(spec.Role ?? '')}`);
  if (availability !== 'active' && availability !== 'pause' && availability !== 'drain') {
    throw new ClusterError('invalid-argument', `invalid Availability: ${JSON.stringify(spec.Availability ?? '')}`);
  }
  checkReservedLabels('node', labels);
  return { ...(spec.Name && { Name: spec.Name }), Labels: labels, Role: role, Availability: availability };
}

function checkDemotion(view: View, node: Node): void {
  const managers = view.list('nodes').filter((other) => other.Spec.Role === 'manager');
  if (managers.length <= 1) throw precondition('attempting to demote the last manager of the swarm');
  const others = managers.filter((other) => other.ID !== node.ID && other.ManagerStatus);
  if (others.length === 0) throw precondition('attempting to demote the last manager of the swarm');
}
