import { restartPolicyOf, type Task } from '@swarmctl/shared/model';

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

/** What the task that follows this one carries on, so that a new leader knows it. */
export function restartsAfter(ended: Task, now: number): NonNullable<Task['Restarts']> {
  const { windowMs, maxAttempts } = restartPolicyOf(ended.Spec);
  const before = ended.Restarts ?? { count: 0, times: [] };
  const times = windowMs > 0 && maxAttempts > 0 ? [...before.times, now].slice(-maxAttempts) : [];
  return { count: before.count + 1, times };
}
