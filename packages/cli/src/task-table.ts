import { type Node, type Service, slotName, type Task } from '@swarmctl/shared/model';
import type { Column } from './output.ts';
import { shortId } from './runtime.ts';
import type { Row } from './template.ts';
import { ago, capital } from './units.ts';

// The table of `service ps`, `node ps` and `task ls`.

export const taskColumns: readonly Column[] = [
  { header: 'ID', field: 'ID' },
  { header: 'NAME', field: 'Name' },
  { header: 'IMAGE', field: 'Image' },
  { header: 'NODE', field: 'Node' },
  { header: 'DESIRED STATE', field: 'DesiredState' },
  { header: 'CURRENT STATE', field: 'CurrentState' },
  { header: 'ERROR', field: 'Error' },
  { header: 'PORTS', field: 'Ports' },
];

export interface TaskNames {
  readonly services: ReadonlyMap<string, Service>;
  readonly nodes: ReadonlyMap<string, Node>;
}

export function taskRows(
  tasks: readonly Task[],
  names: TaskNames,
  options: { noTrunc: boolean; noResolve: boolean; nowMs: number },
): Row[] {
  const nameOf = (task: Task) => {
    const service = options.noResolve
      ? task.ServiceID
      : (names.services.get(task.ServiceID)?.Spec.Name ?? task.ServiceID);
    return `${service}.${slotName(task)}`;
  };
  const sorted = [...tasks].sort((a, b) => compare(nameOf(a), nameOf(b)) || compare(b.CreatedAt, a.CreatedAt));
  let previous = '';
  return sorted.map((task) => {
    const name = nameOf(task);
    // Earlier tasks of the same slot hang below the newest one.
    const shown = name === previous ? ` \\_ ${name}` : name;
    previous = name;
    const error = task.Status.Err ?? '';
    return {
      ID: shortId(task.ID, options.noTrunc),
      Name: shown,
      Image: shortImage(task.Spec.ContainerSpec?.Image ?? '', options.noTrunc),
      Node: options.noResolve
        ? (task.NodeID ?? '')
        : (names.nodes.get(task.NodeID ?? '')?.Description?.Hostname ?? task.NodeID ?? ''),
      DesiredState: capital(task.DesiredState),
      CurrentState: `${capital(task.Status.State)} ${ago(Date.parse(task.Status.Timestamp), options.nowMs)} ago`,
      Error: error === '' ? '' : options.noTrunc || error.length <= 40 ? `"${error}"` : `"${error.slice(0, 39)}…"`,
      Ports: (task.Status.PortStatus?.Ports ?? [])
        .map((port) => `*:${port.PublishedPort}->${port.TargetPort}/${port.Protocol}`)
        .join(','),
    };
  });
}

const compare = (a: string, b: string): number => {
  const numbers = [/^(.*)\.(\d+)$/.exec(a), /^(.*)\.(\d+)$/.exec(b)];
  const [x, y] = numbers;
  if (x && y && x[1] === y[1]) return Number(x[2]) - Number(y[2]);
  return a < b ? -1 : a > b ? 1 : 0;
};

/** Without a pinned digest, unless asked. */
export const shortImage = (image: string, noTrunc: boolean): string =>
  noTrunc ? image : image.replace(/@sha256:[0-9a-f]+$/, '');
