import type { ManagerHandle } from '@swarmctl/manager';
import { type Clock, ifLate, inTime } from '@swarmctl/shared/kit';

// A new cluster is told of once its first node can be given work: whoever asks for something next is not refused.

/** One whose engine does not answer comes later. */
const mostMs = 10_000;

/** Resolves when the managers know the node as ready, or when that takes too long. */
export async function nodeIsReady(
  manager: Pick<ManagerHandle, 'view' | 'watch'>,
  nodeId: string,
  clock: Clock,
): Promise<void> {
  const isReady = () => manager.view().get('nodes', nodeId)?.Status.State === 'ready';
  let unwatch = () => {};
  const ready = new Promise<void>((resolve) => {
    unwatch = manager.watch(() => isReady() && resolve());
    if (isReady()) resolve();
  });
  await inTime(clock, { what: 'this node', ms: mostMs }, () => ready)
    .catch(ifLate(undefined))
    .finally(unwatch);
}
