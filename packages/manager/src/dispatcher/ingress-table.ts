import { isDeepStrictEqual } from 'node:util';
import { type PortConfig, publishedOptionsOf, type Service, type Task, wantsLife } from '@swarmctl/shared/model';
import { type IngressBackend, type IngressEntry, ingressKey } from '@swarmctl/shared/wire';
import type { View } from '../store/types.ts';

// The ingress table: for each published port, the tasks that serve it now. A task leaves it in the very commit that changes its desired
// state, and its node's tasks leave it when the node is down. UDP has no connections that would go on by themselves, so there a task is
// listed apart until it has ended.

/** The whole table, in the order of the keys. Pure. */
export function ingressTable(view: View): IngressEntry[] {
  return view
    .list('services')
    .flatMap((service) => entriesOf(view, service))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** The entries of one service; those that nothing serves now are there too, without backends. */
export function entriesOf(view: View, service: Service): IngressEntry[] {
  const ports = (service.Endpoint.Ports ?? []).filter(isPublished);
  if (ports.length === 0) return [];
  const tasks = view.tasksOfService(service.ID).filter((task) => isReachable(view, task));
  return ports.flatMap((port) => entriesOfPort(service, port, tasks));
}

const isPublished = (port: PortConfig): boolean => port.PublishMode !== 'host' && Boolean(port.PublishedPort);

/** The task belongs into the table, whatever its node is like. */
export const isServing = (task: Task): boolean => hasEndpoints(task) && wantsLife(task.DesiredState);

const hasEndpoints = ({ Status }: Task): boolean => Status.State === 'running' && Boolean(Status.Endpoints?.length);

function isReachable(view: View, task: Task): boolean {
  if (!hasEndpoints(task)) return false;
  const node = view.get('nodes', task.NodeID ?? '');
  return node !== undefined && node.Status.State !== 'down';
}

/** One, or one for each address that the port is to answer on. */
function entriesOfPort(service: Service, port: PortConfig, tasks: readonly Task[]): IngressEntry[] {
  const protocol = port.Protocol || 'tcp';
  const targetPort = port.TargetPort ?? 0;
  const publishedPort = port.PublishedPort ?? 0;
  const backendsOf = (some: readonly Task[]) =>
    some.flatMap((task): IngressBackend[] => {
      const endpoint = task.Status.Endpoints?.find((one) => one.protocol === protocol && one.targetPort === targetPort);
      return endpoint ? [{ ...endpoint, taskId: task.ID, nodeId: task.NodeID ?? '' }] : [];
    });
  const backends = backendsOf(tasks.filter(isServing));
  const draining = protocol === 'udp' ? backendsOf(tasks.filter((task) => !isServing(task))) : [];
  const { addresses, allow, clientAddress, proxy, http } = publishedOptionsOf(service.Spec.Labels ?? {}, port);
  return (addresses.length > 0 ? addresses : [undefined]).map((address) => ({
    key: ingressKey(protocol, publishedPort, address, http && service.ID),
    serviceId: service.ID,
    serviceName: service.Spec.Name,
    protocol,
    publishedPort,
    targetPort,
    ...(address && { address }),
    ...(allow && { allow }),
    ...(clientAddress && { clientAddress }),
    ...(proxy && { proxy }),
    ...(http && { http }),
    backends,
    ...(draining.length > 0 && { draining }),
  }));
}

export interface IngressDelta {
  readonly entries: readonly IngressEntry[];
  readonly removed: readonly string[];
}

/** The table kept in step with the state: only services that were touched are looked at again. */
export class IngressTracker {
  readonly #table = new Map<string, IngressEntry>();
  readonly #byService = new Map<string, { keys: readonly string[]; taskIds: ReadonlySet<string> }>();
  readonly #touched = new Set<string>();

  /** By key; as of the last `refresh`. */
  get table(): ReadonlyMap<string, IngressEntry> {
    return this.#table;
  }

  /** The task was a backend at the last `refresh`. */
  has(task: Pick<Task, 'ID' | 'ServiceID'>): boolean {
    return this.#byService.get(task.ServiceID)?.taskIds.has(task.ID) ?? false;
  }

  touch(serviceId: string): void {
    this.#touched.add(serviceId);
  }

  touchAll(view: View): void {
    for (const { ID } of view.list('services')) this.#touched.add(ID);
    for (const id of this.#byService.keys()) this.#touched.add(id);
  }

  /** Brings the table to `view`; what changed since the last time. */
  refresh(view: View): IngressDelta {
    const before = new Map<string, IngressEntry | undefined>();
    const fresh = [...this.#touched].map((id) => {
      const service = view.get('services', id);
      for (const key of this.#byService.get(id)?.keys ?? []) {
        before.set(key, this.#table.get(key));
        this.#table.delete(key);
      }
      this.#byService.delete(id);
      return [id, service ? entriesOf(view, service) : []] as const;
    });
    this.#touched.clear();
    for (const [id, entries] of fresh) this.#put(id, entries, before);
    return this.#delta(before);
  }

  #put(serviceId: string, entries: readonly IngressEntry[], before: Map<string, IngressEntry | undefined>): void {
    if (entries.length === 0) return;
    for (const entry of entries) {
      const known = before.get(entry.key);
      if (!before.has(entry.key)) before.set(entry.key, this.#table.get(entry.key));
      this.#table.set(entry.key, known && isDeepStrictEqual(known, entry) ? known : entry);
    }
    const taskIds = new Set(entries.flatMap(({ backends }) => backends.map(({ taskId }) => taskId)));
    this.#byService.set(serviceId, { keys: entries.map(({ key }) => key), taskIds });
  }

  #delta(before: ReadonlyMap<string, IngressEntry | undefined>): IngressDelta {
    const entries: IngressEntry[] = [];
    const removed: string[] = [];
    for (const [key, old] of before) {
      const now = this.#table.get(key);
      if (now === old) continue;
      if (now) entries.push(now);
      else removed.push(key);
    }
    return { entries, removed };
  }
}
