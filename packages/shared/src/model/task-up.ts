import { labelRegistry } from './labels.ts';
import type { Service, Task } from './objects.ts';
import type { PortConfig } from './specs.ts';

// What may be said of one task from its own fields and its service's: whether it serves, and whether it is what the service now asks for.

const isTcpIngress = (port: PortConfig): boolean => port.PublishMode !== 'host' && (port.Protocol || 'tcp') === 'tcp';

/** Running, and reachable on every published TCP port: it counts for updates, progress and load balancing. */
export const isUp = (task: Pick<Task, 'Status' | 'Ports'>): boolean =>
  task.Status.State === 'running' &&
  (!task.Ports?.some(isTcpIngress) || task.Status.Endpoints !== undefined) &&
  !task.Status.Withdrawn;

/**
 * The task was not made from what the service now asks for, so an update replaces it. Scale, labels that do not redeploy and a changed
 * published port leave tasks as they are. `fits`: the task's node satisfies the new constraints; a change of constraints alone then moves nothing.
 */
export function isDirty(service: Service, task: Task, fits?: () => boolean): boolean {
  if (task.SpecVersion === service.SpecVersion) return false;
  return (
    differsBySpec(service, task, fits) ||
    redeployKey(service.Spec.Labels) !== redeployKey(task.ServiceAnnotations.Labels) ||
    (task.Ports !== undefined && portsKey(service.Endpoint.Ports) !== portsKey(task.Ports))
  );
}

function differsBySpec(service: Service, task: Task, fits?: () => boolean): boolean {
  const wanted = service.Spec.TaskTemplate;
  if (specEquals(wanted, task.Spec)) return false;
  const { Constraints: _, ...wantedPlacement } = wanted.Placement ?? {};
  const { Constraints: __, ...placement } = task.Spec.Placement ?? {};
  const constraintsAlone = specEquals(
    { ...wanted, Placement: wantedPlacement },
    { ...task.Spec, Placement: placement },
  );
  return !(constraintsAlone && fits?.());
}

const redeployKey = (labels: Readonly<Record<string, string>>): string =>
  JSON.stringify(
    Object.entries(labelRegistry)
      .filter(([, definition]) => definition.redeploys)
      .map(([key]) => labels[key] ?? null),
  );

/** What of the ports reaches into a task: its target ports, and all of a host-mode port. */
const portsKey = (ports: readonly PortConfig[] | undefined): string =>
  (ports ?? [])
    .map((port) => {
      const target = `${port.Protocol || 'tcp'}/${port.TargetPort ?? 0}`;
      return port.PublishMode === 'host' ? `host ${target} ${port.PublishedPort ?? 0}` : `ingress ${target}`;
    })
    .filter((key, i, all) => all.indexOf(key) === i)
    .sort()
    .join();

/** Fields whose zero is something else than their absence. */
const zeroMatters: ReadonlySet<string> = new Set(['Delay', 'Init', 'MemorySwappiness', 'Mode', 'StopGracePeriod']);

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isEmpty = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === false ||
  value === 0 ||
  (Array.isArray(value) && value.length === 0) ||
  (isRecord(value) && Object.entries(value).every(([key, member]) => isAbsent(key, member)));

const isAbsent = (key: string, value: unknown): boolean =>
  zeroMatters.has(key) ? value === undefined || value === null : isEmpty(value);

/** Deep equality of specs: null, false, zero, `[]` and `{}` say the same as absence, as on Docker's wire. */
export function specEquals(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, i) => specEquals(item, b[i]));
  }
  if (isRecord(a) && isRecord(b)) {
    return [...new Set([...Object.keys(a), ...Object.keys(b)])].every((key) => {
      const absent = isAbsent(key, a[key]);
      return absent === isAbsent(key, b[key]) && (absent || specEquals(a[key], b[key]));
    });
  }
  return isEmpty(a) && isEmpty(b);
}
