import { isDeepStrictEqual } from 'node:util';
import {
  isTerminal,
  type PortConfig,
  readyCheckOf,
  type Task,
  type TaskEndpoint,
  type TaskStatus,
  wantsLife,
} from '@swarmctl/shared/model';
import { ingressPorts } from '@swarmctl/shared/wire';
import { networkIdsOf } from '../network/node-networks.ts';
import type { ContainerState } from '../runtime/types.ts';

// One step of one task: from what is wanted, what was reported and what the runtime shows to the one thing to do next. Pure; the runner does
// it and asks again, until there is nothing to do but wait.

export interface Sight {
  /** As the managers want it now. */
  readonly task: Task;
  /** The furthest status that is known of it. */
  readonly status: TaskStatus;
  readonly container: ContainerState | undefined;
  /** The managers have forgotten it. */
  readonly removed: boolean;
  /** The managers are in touch: what they want is what they want now. */
  readonly mayStart: boolean;
  /** They have been in touch since this agent began. A wish to stop is never taken back. */
  readonly mayStop: boolean;
  /** The container accepts connections on each TCP ingress port. */
  readonly reachable: boolean;
  /** Its connections have ended, or had their time. */
  readonly drained: boolean;
  /** Why the agent itself has given it up. */
  readonly failure?: string;
}

/** A status that the runner stamps with the time. */
export type Report = Omit<TaskStatus, 'Timestamp'>;

export type Action =
  | { readonly kind: 'report'; readonly status: Report }
  | { readonly kind: 'prepare' | 'start' | 'drain' | 'stop' | 'remove' | 'forget' | 'wait' }
  /** Wait, and find out whether the container accepts connections. */
  | { readonly kind: 'probe' }
  /** Wait, and look again soon although nothing may be heard. */
  | { readonly kind: 'look-again' }
  | { readonly kind: 'give-up'; readonly failure: string };

const wait: Action = { kind: 'wait' };

export const unhealthy = 'dockerexec: unhealthy container';

export function step(sight: Sight): Action {
  if (sight.removed) return leave(sight, sight.container ? { kind: 'remove' } : { kind: 'forget' });
  if (isTerminal(sight.status.State)) return leave(sight, wait);
  if (!wantsLife(sight.task.DesiredState)) return leave(sight, shutdownReport(sight));
  if (sight.failure !== undefined) return leave(sight, failed(sight, sight.failure));
  return live(sight);
}

/** First nothing of it may run any more, then `last`. */
function leave(sight: Sight, last: Action): Action {
  if (sight.container?.phase !== 'running') return last.kind === 'remove' && !sight.mayStop ? wait : last;
  if (!sight.mayStop) return wait;
  if (sight.failure !== undefined && isNamed(sight)) return report(withdrawn(sight, sight.container));
  return mustDrain(sight) ? { kind: 'drain' } : { kind: 'stop' };
}

const isRouted = ({ status }: Sight): boolean => status.State === 'running' && Boolean(status.Endpoints?.length);

/** Others may be sent there: by the ingress tables, or by its names on networks. */
const isNamed = (sight: Sight): boolean =>
  sight.status.State === 'running' &&
  !sight.status.Withdrawn &&
  (isRouted(sight) || networkIdsOf(sight.task).length > 0);

/** Only what could have been routed to has connections to wait for. */
const mustDrain = (sight: Sight): boolean =>
  !sight.drained && (isRouted(sight) || (sight.failure !== undefined && sight.status.Withdrawn === true));

const withdrawnMessage = 'unhealthy: no longer routed to';

/** It runs still, and nobody is to be sent there: it leaves ingress tables and names before it is stopped. */
function withdrawn({ status }: Sight, container: ContainerState): Report {
  const { Timestamp: _, Endpoints: __, ...known } = status;
  return { ...known, Message: withdrawnMessage, ContainerStatus: containerStatus(container), Withdrawn: true };
}

function live(sight: Sight): Action {
  const { status, task, container, mayStart } = sight;
  switch (status.State) {
    case 'assigned':
      return mayStart ? report({ State: 'accepted', Message: 'accepted' }) : wait;
    case 'accepted':
      return mayStart ? report({ State: 'preparing', Message: 'preparing' }) : wait;
    case 'preparing':
      if (container) return report({ State: 'ready', Message: 'prepared' });
      return mayStart ? { kind: 'prepare' } : wait;
    case 'ready':
      if (container && container.phase !== 'created') return report({ State: 'starting', Message: 'starting' });
      if (!mayStart) return wait;
      if (!container) return { kind: 'prepare' };
      return task.DesiredState === 'ready' ? wait : report({ State: 'starting', Message: 'starting' });
    case 'starting':
      return starting(sight);
    case 'running':
      return running(sight);
    default:
      return wait;
  }
}

function starting(sight: Sight): Action {
  const { container } = sight;
  if (!container) return failed(sight, gone);
  switch (container.phase) {
    case 'created':
      return sight.mayStart ? { kind: 'start' } : wait;
    case 'exited':
      return ended(sight, container);
    case 'running':
      if (container.health === 'starting') return wait;
      return container.health === 'unhealthy'
        ? { kind: 'give-up', failure: unhealthy }
        : report(runningReport(sight, container));
    default:
      return container.phase satisfies never;
  }
}

function running(sight: Sight): Action {
  const { container, status } = sight;
  if (!container) return failed(sight, gone);
  if (container.phase === 'exited') return ended(sight, container);
  if (container.phase === 'created') return failed(sight, 'task: container does not run');
  if (container.health === 'unhealthy') return { kind: 'give-up', failure: unhealthy };
  const now = runningReport(sight, container);
  const { Timestamp: _, ...before } = status;
  if (!isDeepStrictEqual(now, before)) return report(now);
  if (now.Endpoints || ingressPorts(sight.task).length === 0) return wait;
  return endpointsOf(sight.task, container) ? { kind: 'probe' } : { kind: 'look-again' };
}

const gone = 'task: container is gone';

const report = (status: Report): Action => ({ kind: 'report', status });

function runningReport(sight: Sight, container: ContainerState): Report {
  const Endpoints = routable(sight, container);
  return {
    State: 'running',
    Message: 'started',
    ContainerStatus: { ContainerID: container.containerId, PID: container.pid, ExitCode: 0 },
    ...portStatus(container.hostPorts),
    ...(Endpoints && { Endpoints }),
  };
}

/** Where it may be routed to; undefined while it must not be. Once it is in the table, only its end takes it out. */
function routable({ task, status, reachable }: Sight, container: ContainerState): readonly TaskEndpoint[] | undefined {
  const endpoints = endpointsOf(task, container);
  if (!endpoints || status.Endpoints) return endpoints ?? status.Endpoints;
  return reachable || !needsProbe(task, container) ? endpoints : undefined;
}

const needsProbe = (task: Task, container: ContainerState): boolean =>
  container.health === undefined &&
  readyCheckOf(task.ServiceAnnotations.Labels) === 'connect' &&
  ingressPorts(task).some((port) => (port.Protocol || 'tcp') === 'tcp');

/** Undefined without ingress ports, and as long as the runtime does not say where each of them is. */
function endpointsOf(task: Task, container: ContainerState): readonly TaskEndpoint[] | undefined {
  const ports = ingressPorts(task);
  const known = (port: PortConfig) =>
    container.endpoints.some((one) => one.targetPort === port.TargetPort && one.protocol === (port.Protocol || 'tcp'));
  return ports.length > 0 && ports.every(known) ? container.endpoints : undefined;
}

const portStatus = (ports: readonly PortConfig[] | undefined): Pick<Report, 'PortStatus'> =>
  ports?.length ? { PortStatus: { Ports: ports } } : {};

/** It ended by itself. */
function ended(sight: Sight, container: ContainerState): Action {
  const code = container.exitCode ?? 0;
  if (code === 0 && !container.oomKilled) {
    return report({ State: 'complete', Message: 'finished', ContainerStatus: containerStatus(container) });
  }
  // However quick it was: it had started.
  const { status } = sight;
  const seen = status.State === 'starting' ? { ...sight, status: { ...status, Message: 'started' } } : sight;
  return failed(seen, `task: non-zero exit (${code})${container.oomKilled ? ': out of memory' : ''}`);
}

function failed({ status, container }: Sight, Err: string): Action {
  return report({
    State: 'failed',
    ...(status.Message !== undefined && { Message: status.Message }),
    Err,
    ContainerStatus: container ? containerStatus(container) : lastContainer(status),
  });
}

/** What the runtime refuses for good: before the start nobody has seen it run, so it is rejected. */
export function refused(status: TaskStatus, container: ContainerState | undefined, Err: string): Report {
  const State = status.State === 'starting' || status.State === 'running' ? 'failed' : 'rejected';
  return {
    State,
    ...(status.Message !== undefined && { Message: status.Message }),
    Err,
    ContainerStatus: container ? containerStatus(container) : lastContainer(status),
  };
}

const shutdownReport = ({ status, container }: Sight): Action =>
  report({
    State: 'shutdown',
    Message: 'shutdown',
    ...(container ? { ContainerStatus: containerStatus(container) } : { ContainerStatus: lastContainer(status) }),
  });

const containerStatus = ({ containerId, exitCode }: ContainerState) => ({
  ContainerID: containerId,
  PID: 0,
  ExitCode: exitCode ?? 0,
});

const lastContainer = (status: TaskStatus) => ({
  ContainerID: status.ContainerStatus?.ContainerID ?? '',
  PID: 0,
  ExitCode: status.ContainerStatus?.ExitCode ?? 0,
});
