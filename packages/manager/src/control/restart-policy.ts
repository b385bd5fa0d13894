import { fromTimestamp, restartPolicyOf, type Task } from '@swarmctl/shared/model';

// What a service's restart policy says of a task that ended.

/** Whether the restart policy lets another task follow one that ended. */
export function restartAllowed(ended: Task, now: number): boolean {
  const { condition, maxAttempts, windowMs } = restartPolicyOf(ended.Spec);
  if (condition === 'none' || (condition === 'on-failure' && ended.Status.State === 'complete')) return false;
  if (maxAttempts === 0) return true;
  const restarts = ended.Restarts ?? { count: 0, times: [] };
  const counted = windowMs > 0 ? restarts.times.filter((time) => time > now - windowMs).length : restarts.count;
  return counted < maxAttempts;
}

/** From the second rejection in a row on, the wait doubles up to the worst: what stands in the way on a node stands there longer than a moment. */
const firstRejectedMs = 5_000;
const worstRejectedMs = 60_000;

/** How long (ms) the task that follows this one waits: what the policy says, and longer the more often in a row no start was possible. */
export function restartDelayMs(ended: Task): number {
  const { delayMs } = restartPolicyOf(ended.Spec);
  const before = ended.Status.State === 'rejected' ? (ended.Restarts?.rejected ?? 0) : 0;
  return before === 0 ? delayMs : Math.max(delayMs, Math.min(firstRejectedMs * 2 ** before, worstRejectedMs));
}

/** Got ready after rejections: nothing stands in the way any more. */
export const hasWayCleared = (task: Task): boolean => task.Status.State === 'ready' && Boolean(task.Restarts?.rejected);

/** When (ms) a task that waits may start; once its way is cleared it waits no longer than its policy says. */
export function startsAt(task: Task): number | undefined {
  if (task.StartAt === undefined || !hasWayCleared(task)) return task.StartAt;
  return Math.min(task.StartAt, fromTimestamp(task.CreatedAt) + restartPolicyOf(task.Spec).delayMs);
}

/** What the task that follows this one carries on, so that a new leader knows it. */
export function restartsAfter(ended: Task, now: number): NonNullable<Task['Restarts']> {
  const { windowMs, maxAttempts } = restartPolicyOf(ended.Spec);
  const before: NonNullable<Task['Restarts']> = ended.Restarts ?? { count: 0, times: [] };
  const times = windowMs > 0 && maxAttempts > 0 ? [...before.times, now].slice(-maxAttempts) : [];
  const rejected = ended.Status.State === 'rejected' && { rejected: (before.rejected ?? 0) + 1 };
  return { count: before.count + 1, times, ...rejected };
}
