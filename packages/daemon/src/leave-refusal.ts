import type { ManagerHandle } from '@swarmctl/manager';
import { ClusterError } from '@swarmctl/shared/kit';

// Why a manager does not leave unless it is forced to.

/** In Docker's words, which tell what leaving would do to the cluster. */
export function leaveRefusal(manager: ManagerHandle, managerIds: readonly string[]): ClusterError {
  const reachable = managerIds.filter((id) => manager.raftStatus(id).reachable).length;
  const unreachable = managerIds.length - reachable;
  let message = 'You are attempting to leave the swarm on a node that is participating as a manager. ';
  if (managerIds.length === 1) {
    message +=
      'Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ';
    return new ClusterError('unavailable', message);
  }
  if (reachable - 2 < unreachable) {
    message += `Removing this node leaves ${reachable - 1} managers out of ${managerIds.length}. Without a Raft quorum your swarm will be inaccessible. `;
  }
  message +=
    'The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use `--force` to suppress this message.';
  return new ClusterError('unavailable', message);
}
