import { type Filters, passesLabels } from '../query.ts';
import { filterText, queryText } from './containers.ts';
import { type Engine, type EngineAnswer, type EngineRoom, workMs } from './engines.ts';
import type { Volume } from './volume-routes.ts';

// Since API 1.42 a prune takes anonymous volumes alone, unless `all` is asked for. Engines that are older than that take all: of theirs, what the client
// means is picked here.

/** Of these versions an engine knows what is anonymous. */
const firstKnowing = 23;

/** `minor`: of the client's version of the API. The engine's answer, or one like it. */
export async function pruneVolumes(
  room: EngineRoom,
  engine: Engine,
  filters: Filters,
  minor: number,
): Promise<EngineAnswer> {
  const prune = (...without: readonly string[]) => {
    const query = queryText({ filters: filterText(filters, 'node', ...without) });
    return room.ask(engine.node, 'POST', `/v1.${minor}/volumes/prune${query}`, { timeoutMs: workMs });
  };
  const release = Number.parseInt(engine.node.Description?.Engine.EngineVersion ?? '', 10);
  if (!(release < firstKnowing)) return prune();
  const isAll = ['1', 'true'].some((yes) => filters.get('all')?.has(yes));
  if (minor < 42 || isAll) return prune('all');
  return pruneAnonymous(room, engine, filters);
}

/** As engines name volumes for whom the name does not matter. */
const anonymous = /^[0-9a-f]{64}$/;

async function pruneAnonymous(room: EngineRoom, { node }: Engine, filters: Filters): Promise<EngineAnswer> {
  const unused = await room.ask(node, 'GET', `/volumes${queryText({ filters: '{"dangling":["true"]}' })}`);
  if (unused.status !== 200) return unused;
  const doomed = ((unused.json?.Volumes ?? []) as Volume[])
    .filter(({ Name, Labels }) => anonymous.test(Name) && isAsked(filters, Labels ?? {}))
    .map(({ Name }) => Name);
  const sizes = doomed.length > 0 ? await sizesOf(room, node) : new Map<string, number>();
  const answers = await Promise.all(
    doomed.map(async (name) => {
      const { status } = await room.ask(node, 'DELETE', `/volumes/${name}`, { timeoutMs: workMs });
      // One that has gone, or is used again, is none of this.
      return status < 300 ? [name] : [];
    }),
  );
  const VolumesDeleted = answers.flat();
  const SpaceReclaimed = VolumesDeleted.reduce((sum, name) => sum + (sizes.get(name) ?? 0), 0);
  const json = { VolumesDeleted, SpaceReclaimed };
  return { status: 200, text: JSON.stringify(json), json };
}

const isAsked = (filters: Filters, labels: Readonly<Record<string, string>>): boolean =>
  passesLabels(filters, 'label', labels) &&
  ![...(filters.get('label!') ?? [])].some((one) =>
    passesLabels(new Map([['label', new Set([one])]]), 'label', labels),
  );

/** In bytes; of one that could not be measured there is none. */
async function sizesOf(room: EngineRoom, node: Engine['node']): Promise<ReadonlyMap<string, number>> {
  const { json } = await room.ask(node, 'GET', '/system/df', { timeoutMs: workMs });
  const volumes = (json?.Volumes ?? []) as { readonly Name: string; readonly UsageData?: { readonly Size?: number } }[];
  return new Map(volumes.map(({ Name, UsageData }) => [Name, Math.max(0, UsageData?.Size ?? 0)]));
}
