import { type Task, taskName } from '@swarmctl/shared/model';
import type { RuntimeNode } from './types.ts';

// What every container of ours is called and labelled, so that it is found again and nothing else is ever touched.

export const labelNames = {
  node: 'com.docker.swarm.node.id',
  service: 'com.docker.swarm.service.id',
  serviceName: 'com.docker.swarm.service.name',
  task: 'com.docker.swarm.task',
  taskId: 'com.docker.swarm.task.id',
  taskName: 'com.docker.swarm.task.name',
  cluster: 'swarmctl.cluster.id',
} as const;

/** The orchestrator's labels; they go over the user's. */
export const orchestratorLabels = (task: Task, node: RuntimeNode): Record<string, string> => ({
  [labelNames.node]: node.nodeId,
  [labelNames.service]: task.ServiceID,
  [labelNames.serviceName]: task.ServiceAnnotations.Name,
  [labelNames.task]: '',
  [labelNames.taskId]: task.ID,
  [labelNames.taskName]: taskName(task),
  [labelNames.cluster]: node.clusterId,
});

/** Both must match in every list, event stream and removal. */
export const ownLabels = (node: RuntimeNode): string[] => [
  `${labelNames.node}=${node.nodeId}`,
  `${labelNames.cluster}=${node.clusterId}`,
];
