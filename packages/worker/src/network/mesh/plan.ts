import type { MeshPeer, MeshView } from '@swarmctl/shared/wire';
import { meshMarkMask } from '../types.ts';
import { addressesOf, macOf, markOf, prefixOf } from './names.ts';

// From what the mesh should be and what the kernel has to the steps between them. Pure. Device, addresses, neighbours, and for each peer the
// rule and the table that lead answers back to it.

export type Family = 4 | 6;

export interface Link {
  readonly kind: string;
  readonly mac: string;
  readonly mtu: number;
  readonly isUp: boolean;
  readonly vni: number;
  readonly port: number;
  readonly local: string;
  readonly isLearning: boolean;
}

export interface Rule {
  readonly family: Family;
  readonly priority: number;
  readonly mark?: number;
  readonly iif?: string;
  readonly table: string;
}

export interface Route {
  readonly family: Family;
  readonly table: number;
  readonly gateway: string;
}

/** What the kernel has of the mesh. */
export interface MeshFound {
  readonly link?: Link;
  /** `address/prefix`, without those of the link alone. */
  readonly addresses: readonly string[];
  readonly forwards: readonly { readonly mac: string; readonly dst: string }[];
  readonly neighbours: readonly { readonly addr: string; readonly mac: string; readonly isPermanent: boolean }[];
  /** Those of the priorities that are ours. */
  readonly rules: readonly Rule[];
  /** By the device, in tables whose numbers are marks of ours. */
  readonly routes: readonly Route[];
}

export interface MeshWanted {
  readonly device: string;
  readonly mark: number;
  readonly mtu: number;
  readonly local: string;
  readonly families: readonly Family[];
  readonly view: MeshView;
  /** Those that can be sent to from `local`. */
  readonly peers: readonly MeshPeer[];
}

export const nothingFound: MeshFound = {
  addresses: [],
  forwards: [],
  neighbours: [],
  rules: [],
  routes: [],
};

/** A line for one of the system's tools. */
export interface Step {
  readonly tool: 'ip' | 'ip -6' | 'bridge';
  readonly line: string;
}

/** What comes from the mesh goes by the main table whatever its mark: first, or it would be sent back. */
export const inwardPriority = 8_999;
export const returnPriority = 9_000;

const ipFor = (family: Family) => (family === 4 ? 'ip' : 'ip -6') as 'ip' | 'ip -6';
const ip = (line: string): Step => ({ tool: 'ip', line });

export interface MeshPlan {
  /** Until the device is there; its switches are set then, before it is given addresses. */
  readonly device: readonly Step[];
  readonly rest: readonly Step[];
}

export function planMesh(wanted: MeshWanted, is: MeshFound): MeshPlan {
  const isStale = is.link !== undefined && !isSameLink(wanted, is.link);
  // What goes with the device need not be removed by hand.
  const found = isStale || !is.link ? { ...nothingFound, rules: is.rules } : is;
  const device = [...(isStale ? [ip(`link del dev ${wanted.device}`)] : []), ...linkSteps(wanted, found.link)];
  const rest = [
    ...addressSteps(wanted, found.addresses),
    ...neighbourSteps(wanted, found.neighbours),
    ...forwardSteps(wanted, found.forwards),
    ...returnSteps(wanted, found.rules, found.routes),
  ];
  return { device, rest };
}

/** Everything of ours away. */
export function planRemoval(device: string, is: MeshFound): Step[] {
  return [...is.rules.map(ruleDeletion), ...(is.link ? [ip(`link del dev ${device}`)] : [])];
}

/** The rest of it can be changed as it stands. */
const isSameLink = ({ view, local }: MeshWanted, link: Link): boolean =>
  link.kind === 'vxlan' && link.vni === view.vni && link.port === view.port && link.local === local && !link.isLearning;

function linkSteps({ device, view, local, mtu }: MeshWanted, link: Link | undefined): Step[] {
  const mac = macOf(view.self);
  const isNew = link === undefined;
  return [
    ...(isNew
      ? [
          ip(`link add ${device} type vxlan id ${view.vni} dstport ${view.port} local ${local} nolearning`),
          // Nobody there is asked for or told anything, routers neither.
          ip(`link set dev ${device} addrgenmode none`),
        ]
      : []),
    ...(link?.mac === mac ? [] : [ip(`link set dev ${device} address ${mac}`)]),
    ...(link?.mtu === mtu ? [] : [ip(`link set dev ${device} mtu ${mtu}`)]),
    ...(link?.isUp ? [] : [ip(`link set dev ${device} up`)]),
  ];
}

function addressSteps({ device, view, families }: MeshWanted, have: readonly string[]): Step[] {
  const { v4, v6 } = addressesOf(view, view.self);
  const want = new Map<string, string>();
  if (families.includes(4)) want.set(`${v4}/${prefixOf(view.pool4)}`, '');
  if (families.includes(6)) want.set(`${v6}/${prefixOf(view.pool6)}`, ' nodad');
  return [
    ...have.filter((addr) => !want.has(addr)).map((addr) => ip(`address del ${addr} dev ${device}`)),
    ...[...want].flatMap(([addr, how]) => (have.includes(addr) ? [] : [ip(`address add ${addr} dev ${device}${how}`)])),
  ];
}

function neighbourSteps({ device, view, families, peers }: MeshWanted, have: MeshFound['neighbours']): Step[] {
  const want = new Map<string, string>();
  for (const { meshId } of peers) {
    const { v4, v6 } = addressesOf(view, meshId);
    if (families.includes(4)) want.set(v4, macOf(meshId));
    if (families.includes(6)) want.set(v6, macOf(meshId));
  }
  const right = new Set(
    have.filter((one) => one.isPermanent && want.get(one.addr) === one.mac).map(({ addr }) => addr),
  );
  return [
    ...have.filter(({ addr }) => !want.has(addr)).map(({ addr }) => ip(`neigh del ${addr} dev ${device}`)),
    ...[...want].flatMap(([addr, mac]) =>
      right.has(addr) ? [] : [ip(`neigh replace ${addr} lladdr ${mac} dev ${device} nud permanent`)],
    ),
  ];
}

function forwardSteps({ device, peers }: MeshWanted, have: MeshFound['forwards']): Step[] {
  const want = new Map(peers.map(({ meshId, addr }) => [macOf(meshId), addr]));
  const isRight = new Set(have.filter(({ mac, dst }) => want.get(mac) === dst).map(({ mac }) => mac));
  return [
    ...have
      .filter(({ mac, dst }) => want.get(mac) !== dst)
      .map(({ mac, dst }) => bridge(`fdb del ${mac} dev ${device} dst ${dst} self`)),
    ...[...want].flatMap(([mac, dst]) =>
      isRight.has(mac) ? [] : [bridge(`fdb replace ${mac} dev ${device} dst ${dst} self permanent`)],
    ),
  ];
}

const bridge = (line: string): Step => ({ tool: 'bridge', line });

/** A rule leads to a table that leads somewhere: tables are filled first and emptied last. */
function returnSteps(wanted: MeshWanted, rules: readonly Rule[], routes: readonly Route[]): Step[] {
  return wanted.families.flatMap((family) => {
    const want = returnsOf(wanted, family);
    const [haveRules, haveRoutes] = [rules.filter(isOf(family)), routes.filter(isOf(family))];
    const leftRules = new Map(want.rules.map((rule) => [ruleKey(rule), rule]));
    // One that is there twice is once too many.
    const surplus = haveRules.filter((rule) => !leftRules.delete(ruleKey(rule)));
    const leftRoutes = new Map(want.routes.map((route) => [route.table, route]));
    const others = haveRoutes.filter(({ table, gateway }) => {
      const isRight = leftRoutes.get(table)?.gateway === gateway;
      if (isRight) leftRoutes.delete(table);
      return !isRight && !leftRoutes.has(table);
    });
    return [
      ...surplus.map(ruleDeletion),
      ...others.map(({ table, gateway }) => ({
        tool: ipFor(family),
        line: `route del default via ${gateway} dev ${wanted.device} table ${table}`,
      })),
      ...[...leftRoutes.values()].map(({ table, gateway }) => ({
        tool: ipFor(family),
        line: `route replace default via ${gateway} dev ${wanted.device} table ${table}`,
      })),
      ...[...leftRules.values()].map((rule) => ({ tool: ipFor(family), line: `rule add ${ruleWords(rule)}` })),
    ];
  });
}

const isOf = (family: Family) => (one: { readonly family: Family }) => one.family === family;

function returnsOf({ device, mark, view, peers }: MeshWanted, family: Family): { rules: Rule[]; routes: Route[] } {
  const routes = peers.map(({ meshId }) => {
    const { v4, v6 } = addressesOf(view, meshId);
    return { family, table: markOf(mark, meshId), gateway: family === 4 ? v4 : v6 };
  });
  const inward: Rule = { family, priority: inwardPriority, iif: device, table: 'main' };
  const back = ({ table }: Route): Rule => ({
    family,
    priority: returnPriority,
    mark: table,
    table: String(table),
  });
  return { routes, rules: [inward, ...routes.map(back)] };
}

const ruleWords = ({ priority, mark, iif, table }: Rule): string =>
  [
    `priority ${priority}`,
    ...(iif === undefined ? [] : [`iif ${iif}`]),
    ...(mark === undefined ? [] : [`fwmark 0x${mark.toString(16)}`]),
    `lookup ${table}`,
  ].join(' ');

const ruleKey = (rule: Rule): string => `${rule.family} ${ruleWords(rule)}`;

const ruleDeletion = (rule: Rule): Step => ({ tool: ipFor(rule.family), line: `rule del ${ruleWords(rule)}` });

/** A rule is ours by its priority and by leading from the device, or from a mark of ours to the table of that number. */
export const isOurRule = (rule: Rule, device: string, mark: number): boolean =>
  rule.priority === inwardPriority
    ? rule.iif === device
    : rule.priority === returnPriority && rule.mark !== undefined && isOurMark(rule.mark, mark);

export const isOurMark = (value: number, mark: number): boolean => (value & meshMarkMask) >>> 0 === mark >>> 0;
