import { fromTimestamp, type Node, type Service, type StoreEvent, type Task, taskName } from '@swarmctl/shared/model';

// What clients are told of a change of the replicated state: the Engine API's events of nodes, services, networks, secrets and configs (API 1.30), and, as our own,
// of tasks. The same on every manager, since it is made from the state alone.

export type EventType = 'node' | 'service' | 'network' | 'secret' | 'config' | 'task';

export interface ClusterEvent {
  readonly Type: EventType;
  readonly Action: 'create' | 'update' | 'remove';
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> };
  /** ms since the epoch. */
  readonly time: number;
}

const types: Partial<Record<StoreEvent['table'], EventType>> = {
  nodes: 'node',
  services: 'service',
  networks: 'network',
  secrets: 'secret',
  configs: 'config',
  tasks: 'task',
};

/** Undefined for what is of no interest. `now` dates a removal, of which the state keeps nothing. */
export function clusterEventOf(event: StoreEvent, now: number): ClusterEvent | undefined {
  const Type = types[event.table];
  if (Type === undefined) return undefined;
  const changes = changesOf(event);
  if (event.op === 'update' && changes === undefined) return undefined;
  const time = event.after ? fromTimestamp(event.after.UpdatedAt) : now;
  return { Type, Action: event.op, Actor: { ID: event.id, Attributes: { name: nameOf(event), ...changes } }, time };
}

function nameOf(event: StoreEvent): string {
  switch (event.table) {
    case 'nodes':
      return (event.after ?? event.before)?.Description?.Hostname ?? event.id;
    case 'tasks': {
      const task = event.after ?? event.before;
      return task ? taskName(task) : event.id;
    }
    case 'services':
    case 'networks':
    case 'secrets':
    case 'configs':
      return (event.after ?? event.before)?.Spec.Name ?? event.id;
    default:
      return event.id;
  }
}

type Changes = Readonly<Record<string, string>>;

/** What an update changed, as attributes; undefined when it was nothing that clients see. */
function changesOf(event: StoreEvent): Changes | undefined {
  const { before, after } = event;
  if (event.op !== 'update' || !before || !after) return {};
  if (event.table === 'nodes') return nodeChanges(before as Node, after as Node);
  if (event.table === 'services') return serviceChanges(before as Service, after as Service);
  if (event.table === 'tasks') return taskChanges(before as Task, after as Task);
  return {};
}

/** What an agent says of its machine is no news. */
function nodeChanges(before: Node, after: Node): Changes | undefined {
  if (before.Spec === after.Spec && before.Status === after.Status && before.ManagerStatus === after.ManagerStatus) {
    return undefined;
  }
  return {
    ...change('availability', before.Spec.Availability, after.Spec.Availability),
    ...change('role', before.Spec.Role, after.Spec.Role),
    ...change('state', before.Status.State, after.Status.State),
  };
}

function serviceChanges(before: Service, after: Service): Changes | undefined {
  const seen = (service: Service) => [service.Spec, service.Endpoint, service.UpdateStatus?.State, service.JobStatus];
  const now = seen(after);
  if (seen(before).every((one, i) => one === now[i])) return undefined;
  const replicas = ({ Spec: { Mode } }: Service) => Mode?.Replicated && String(Mode.Replicated.Replicas ?? 1);
  const image = ({ Spec }: Service) => Spec.TaskTemplate.ContainerSpec?.Image;
  return {
    ...change('updatestate', before.UpdateStatus?.State, after.UpdateStatus?.State),
    ...change('replicas', replicas(before), replicas(after)),
    ...change('image', image(before), image(after)),
  };
}

function taskChanges(before: Task, after: Task): Changes | undefined {
  const changed = {
    ...change('state', before.Status.State, after.Status.State),
    ...change('desiredstate', before.DesiredState, after.DesiredState),
    ...change('node', before.NodeID, after.NodeID),
  };
  return Object.keys(changed).length > 0 ? changed : undefined;
}

const change = (name: string, before: string | undefined, after: string | undefined): Changes =>
  before === after ? {} : { ...(before && { [`${name}.old`]: before }), ...(after && { [`${name}.new`]: after }) };
