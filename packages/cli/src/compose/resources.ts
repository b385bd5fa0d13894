import type { TaskSpec } from '@swarmctl/shared/model';
import { defined } from './container-spec.ts';
import type { Report } from './report.ts';
import type { ComposeService } from './service-shape.ts';
import type { Path } from './tree.ts';
import { nanoCpus, sizeOf } from './values.ts';

// Limits and reservations: under `deploy.resources`, or by the keys of a service that mean the same.

type Resources = NonNullable<TaskSpec['Resources']>;

export function resourcesOf(service: ComposeService, path: Path, report: Report): Resources | undefined {
  const { limits = {}, reservations = {} } = service.deploy?.resources ?? {};
  /** Where both are given they must agree. */
  const either = <T>(
    key: keyof ComposeService,
    other: string,
    ofDeploy: T | undefined,
    numberOf: (value: T) => number,
  ) => {
    const own = service[key] as T | undefined;
    if (own !== undefined && ofDeploy !== undefined && numberOf(own) !== numberOf(ofDeploy)) {
      report.error([...path, key], `deploy.resources.${other} says otherwise: leave one of them out`);
    }
    const value = ofDeploy ?? own;
    return value === undefined ? undefined : numberOf(value);
  };
  const memory = either('mem_limit', 'limits.memory', limits.memory, sizeOf);
  const pids = either('pids_limit', 'limits.pids', limits.pids, (value) => Math.max(0, value));
  const Limits = defined({
    NanoCPUs: either('cpus', 'limits.cpus', limits.cpus, nanoCpus),
    MemoryBytes: memory,
    Pids: pids || undefined,
  });
  const generic = reservations.generic_resources?.map(({ discrete_resource_spec: one = {} }, i) => {
    const place = [...path, 'deploy', 'resources', 'reservations', 'generic_resources', i];
    if (!one.kind || one.value === undefined)
      report.error(place, 'expected discrete_resource_spec with kind and value');
    return { DiscreteResourceSpec: { Kind: one.kind ?? '', Value: one.value ?? 0 } };
  });
  const Reservations = defined({
    NanoCPUs: reservations.cpus === undefined ? undefined : nanoCpus(reservations.cpus),
    MemoryBytes: either('mem_reservation', 'reservations.memory', reservations.memory, sizeOf),
    GenericResources: generic,
  });
  const all = defined({
    Limits: present(Limits),
    Reservations: present(Reservations),
    SwapBytes: swap(service, memory, path, report),
    MemorySwappiness: service.mem_swappiness,
  });
  return present(all);
}

const present = <T extends object>(object: T): T | undefined => (Object.keys(object).length > 0 ? object : undefined);

/** Compose counts memory and swap together, the API swap alone. */
function swap(service: ComposeService, memory: number | undefined, path: Path, report: Report): number | undefined {
  const { memswap_limit: both } = service;
  if (both === undefined) return undefined;
  if (both === '-1') return -1;
  if (memory === undefined || sizeOf(both) < memory) {
    report.error(
      [...path, 'memswap_limit'],
      'it is of memory and swap together: expected more than the limit of memory',
    );
    return undefined;
  }
  return sizeOf(both) - memory;
}
