import { type ContainerOptionName, containerLabels } from '@swarmctl/shared/model';
import type { DeviceRequest } from './devices-shape.ts';
import { securityOption } from './privileges.ts';
import type { Report } from './report.ts';
import type { ComposeService } from './service-shape.ts';
import type { Path } from './tree.ts';
import { labelsOf, sizeOf } from './values.ts';

// Keys that reach beyond the container: the API has no word for them, so they are labels, and the cluster says whether it allows them.

type Labels = Readonly<Record<string, string>>;

/** `swarmctl.container.*` for the keys of a service; what a label cannot say is reported. */
export function beyondLabels(service: ComposeService, path: Path, report: Report): Labels {
  const written = labelsOf(service.deploy?.labels);
  const labels: Record<string, string> = {};
  const set = (name: ContainerOptionName, value: string | undefined, place: Path) => {
    const label = `swarmctl.container.${name}` as const;
    if (value === undefined || !isRight(name, value, place, report)) return;
    if (written[label] !== undefined && written[label] !== value) {
      report.error(place, `deploy.labels has ${label}, which says otherwise: leave one of them out`);
    }
    labels[label] = value;
  };
  const setList = (name: 'devices' | 'security-opt', items: readonly (readonly [string, Path])[]) => {
    const right = items.filter(([item, place]) => isRight(name, item, place, report, { isItem: true }));
    const [first] = right;
    if (first && right.length === items.length) set(name, right.map(([item]) => item).join(), first[1].slice(0, -1));
  };
  set('privileged', service.privileged ? 'true' : undefined, [...path, 'privileged']);
  setList(
    'devices',
    (service.devices ?? []).map(({ source = '', target, permissions }, i) => [
      [source, target, permissions].filter((part) => part !== undefined).join(':'),
      [...path, 'devices', i],
    ]),
  );
  const gpus = gpuRequest(service, path, report);
  if (gpus) set('gpus', gpuValue(gpus.request, gpus.place, report), gpus.place);
  // Where these are the default, the cluster need not allow them.
  set('ipc', other(service.ipc, 'private'), [...path, 'ipc']);
  set('pid', other(service.pid), [...path, 'pid']);
  set('userns', other(service.userns_mode), [...path, 'userns_mode']);
  set('runtime', other(service.runtime, 'runc'), [...path, 'runtime']);
  set('cgroupns', service.cgroup, [...path, 'cgroup']);
  set('shm-size', service.shm_size === undefined ? undefined : shmSize(service.shm_size), [...path, 'shm_size']);
  setList(
    'security-opt',
    (service.security_opt ?? []).flatMap((one, i) => {
      const option = securityOption(one);
      return option === undefined ? [] : [[option, [...path, 'security_opt', i]] as const];
    }),
  );
  return labels;
}

function isRight(name: ContainerOptionName, value: string, path: Path, report: Report, { isItem = false } = {}) {
  const right = containerLabels[`swarmctl.container.${name}`].check(value);
  // Commas part the items of a list.
  if (right === undefined && !(isItem && value.includes(','))) return true;
  report.error(path, `'${value}' cannot be had; expected ${right ?? 'one without commas'}`);
  return false;
}

const other = (value: string | undefined, ...usual: readonly string[]) =>
  value === undefined || value === '' || usual.includes(value) ? undefined : value;

/** As written where the label can have it so, since allowances name values; else in bytes. */
const shmSize = (size: string): string =>
  containerLabels['swarmctl.container.shm-size'].check(size) === undefined ? size : String(sizeOf(size));

// --- GPUs ---

interface Placed {
  readonly request: DeviceRequest;
  readonly place: Path;
}

/** The only one that there may be. */
function gpuRequest(service: ComposeService, path: Path, report: Report): Placed | undefined {
  const reserved = [...path, 'deploy', 'resources', 'reservations', 'devices'];
  const all: Placed[] = [
    // Under this key it is said already.
    ...(service.gpus ?? []).map((one, i) => ({
      ...{ request: { ...one, capabilities: one.capabilities ?? ['gpu'] }, place: [...path, 'gpus', i] },
    })),
    ...(service.deploy?.resources?.reservations?.devices ?? []).map((request, i) => ({
      ...{ request, place: [...reserved, i] },
    })),
  ];
  const [first, second] = all;
  if (second) report.error(second.place, 'a service has one request for GPUs: put them into one');
  return first;
}

/** Undefined when it was reported. */
function gpuValue(request: DeviceRequest, place: Path, report: Report): string | undefined {
  const { capabilities = [], count, device_ids: ids = [], driver, options = {} } = request;
  const fail = (key: string, message: string): undefined => {
    report.error(key in request ? [...place, key] : place, message);
  };
  if (capabilities.length !== 1 || capabilities[0] !== 'gpu') {
    return fail('capabilities', 'expected capabilities: [gpu]; other devices of nodes are had by the key devices');
  }
  if (driver !== undefined && driver !== '' && driver !== 'nvidia') {
    return fail('driver', `'${driver}' cannot be had: nodes take the driver that they have for GPUs`);
  }
  if (Object.keys(options).length > 0) return fail('options', 'drivers of GPUs are given no options');
  if (ids.length === 0) return String(count ?? 'all');
  if (count !== undefined) return fail('count', 'there are device_ids as well: leave one of them out');
  const wrong = ids.find((id) => id.includes(','));
  if (wrong !== undefined) return fail('device_ids', `'${wrong}' cannot be had; expected ids without commas`);
  return `device=${ids.join()}`;
}
