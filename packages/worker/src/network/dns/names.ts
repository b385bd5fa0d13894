import { isIPv4 } from 'node:net';
import { below, type Random } from '@swarmctl/shared/kit';
import { formatIp, parseIp } from '@swarmctl/shared/model';
import type { NetworkName, NetworkView } from '@swarmctl/shared/wire';

// What the names on a network stand for: `<service>` or an alias (its virtual address, else all tasks), `tasks.<service>`, `<slot>.<service>`,
// `<service>.<slot>.<task>`; each also with `.<network>` behind it. Pure.

interface Index {
  readonly names: ReadonlyMap<string, readonly NetworkName[]>;
  readonly reverse: ReadonlyMap<string, string>;
}

/** Views never change in place, so each is indexed once. */
const indexes = new WeakMap<NetworkView, Index>();

/** Addresses; `absent`: a service that is there has no such task; undefined: nothing is known of the name. */
export type Found = readonly string[] | 'absent' | undefined;

/** What is behind `name` for one who is on `views`; the first one's names go first. */
export function addressesOf(views: readonly NetworkView[], name: string): Found {
  let absent: 'absent' | undefined;
  const bySuffix = views.map((view) => {
    const suffix = `.${view.name.toLowerCase()}`;
    return [view, name.endsWith(suffix) ? name.slice(0, -suffix.length) : undefined] as const;
  });
  for (const [view, asked] of [...views.map((view) => [view, name] as const), ...bySuffix]) {
    const found = asked === undefined ? undefined : lookUp(indexOf(view), asked);
    if (found === 'absent') absent = found;
    else if (found) return found;
  }
  return absent;
}

/** The name of an address (canonical) of a task or a service. */
export function nameOf(views: readonly NetworkView[], addr: string): string | undefined {
  for (const view of views) {
    const name = indexOf(view).reverse.get(addr);
    if (name !== undefined) return name;
  }
  return undefined;
}

export const isOfFamily = (family: 4 | 6) => (addr: string) => isIPv4(addr) === (family === 4);

/** Each order is as likely as any other. */
export function shuffled<T>(items: readonly T[], random: Random): T[] {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = below(random, i + 1);
    [result[i], result[j]] = [result[j] as T, result[i] as T];
  }
  return result;
}

function lookUp({ names }: Index, name: string): Found {
  const exact = names.get(name);
  if (exact) return distinct(exact.flatMap((one) => (one.vip === undefined ? taskAddresses(one) : [one.vip])));
  const [, first = '', rest = ''] = /^([^.]+)\.(.+)$/.exec(name) ?? [];
  if (first === 'tasks' && names.has(rest)) return distinct(names.get(rest)?.flatMap(taskAddresses) ?? []);
  if (/^\d+$/.test(first)) {
    const found = pick(names.get(rest), (task) => task.slot === Number(first));
    if (found || names.has(rest)) return found ?? 'absent';
  }
  const [, service = '', taskId = ''] = /^(.+)\.[^.]+\.([^.]+)$/.exec(name) ?? [];
  return pick(names.get(service), (task) => task.taskId === taskId);
}

type NamedTask = NetworkName['tasks'][number];

const taskAddresses = ({ tasks }: NetworkName): string[] => tasks.map(({ addr }) => addr);

/** A slot without a healthy task is not there. */
function pick(entries: readonly NetworkName[] = [], matches: (task: NamedTask) => boolean): string[] | undefined {
  const found = entries.flatMap(({ tasks }) => tasks.filter(matches).map(({ addr }) => addr));
  return found.length > 0 ? distinct(found) : undefined;
}

const distinct = (addrs: readonly string[]): string[] => [...new Set(addrs)];

function indexOf(view: NetworkView): Index {
  const known = indexes.get(view);
  if (known) return known;
  const names = new Map<string, NetworkName[]>();
  const reverse = new Map<string, string>();
  const network = view.name.toLowerCase();
  for (const entry of view.names) {
    const name = entry.name.toLowerCase();
    names.set(name, [...(names.get(name) ?? []), entry]);
    // The first name of an address is its service's; aliases come after it.
    const point = (addr: string, to: string) => reverse.set(canonical(addr), reverse.get(canonical(addr)) ?? to);
    if (entry.vip !== undefined) point(entry.vip, `${name}.${network}`);
    for (const { slot, addr } of entry.tasks) point(addr, `${slot === undefined ? '' : `${slot}.`}${name}.${network}`);
  }
  const index = { names, reverse };
  indexes.set(view, index);
  return index;
}

export function canonical(addr: string): string {
  // Of these there is one form.
  if (isIPv4(addr)) return addr;
  const ip = parseIp(addr);
  return ip ? formatIp(ip) : addr;
}
