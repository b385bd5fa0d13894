import type { Node, Task } from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import { explain, fits, lacking, wantedBy } from './filters.ts';
import { Candidate } from './load.ts';

// A node for a container that no service asks for: by the same filters as tasks, least loaded first.

export interface HandMade {
  readonly constraints: readonly string[];
  readonly logDriver?: string | undefined;
  readonly volumeDriver?: string | undefined;
  /** Containers by hand that run on a node already; tasks are counted here. */
  readonly others: (nodeId: string) => number;
  /** Other nodes do not come into question. */
  readonly among: (nodeId: string) => boolean;
}

/** Nodes that may have it, the best first; if there is none, why. */
export function nodesForHandMade(
  view: View,
  wish: HandMade,
): { readonly nodes: readonly Node[]; readonly why: string } {
  const task = asTask(wish);
  const all = view.list('nodes');
  const wanted = wantedBy(task, all, false);
  const candidates = all.map((node, at) => new Candidate(node, at, view.tasksOfNode(node.ID)));
  const load = ({ node, tasks }: Candidate) => tasks + wish.others(node.ID);
  const nodes = candidates
    .filter((candidate) => wish.among(candidate.node.ID) && fits(wanted, candidate))
    .sort((a, b) => load(a) - load(b) || (a.node.ID < b.node.ID ? -1 : 1))
    .map(({ node }) => node);
  const lacks = lacking(task, wanted, candidates);
  return { nodes, why: `${explain(wanted, candidates)}${lacks && ` (${lacks})`}` };
}

/** What the filters look at of a task. */
const asTask = ({ constraints, logDriver, volumeDriver }: HandMade): Task =>
  ({
    ServiceID: '',
    ServiceAnnotations: { Name: '', Labels: {} },
    Spec: {
      Placement: { Constraints: [...constraints] },
      ...(logDriver && { LogDriver: { Name: logDriver } }),
      ContainerSpec: {
        ...(volumeDriver && {
          Mounts: [{ Type: 'volume', VolumeOptions: { DriverConfig: { Name: volumeDriver } } }],
        }),
      },
    },
  }) as unknown as Task;
