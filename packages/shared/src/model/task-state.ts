// The task states: their order, which are terminal, and who may advance a task from where (SwarmKit's task model).

/** Observed states in order. `remove` is only ever desired. The API calls 'new' and 'pending' by the same names. */
export const stateOrder = {
  new: 0,
  pending: 64,
  assigned: 192,
  accepted: 256,
  preparing: 320,
  ready: 384,
  starting: 448,
  running: 512,
  complete: 576,
  shutdown: 640,
  failed: 704,
  rejected: 768,
  remove: 800,
  orphaned: 832,
} as const;

export type TaskState = keyof typeof stateOrder;

export const isTaskState = (value: string): value is TaskState => Object.hasOwn(stateOrder, value);

/** True when the task will never run again. */
export const isTerminal = (state: TaskState): boolean => stateOrder[state] > stateOrder.running;

export const isAfter = (a: TaskState, b: TaskState): boolean => stateOrder[a] > stateOrder[b];

/** Desired states that let a task live; `complete` is what a job's task is to come to. */
export const wantsLife = (desired: TaskState): boolean => stateOrder[desired] <= stateOrder.complete;

/** Who may write an observed state onto a task that is in `from`. */
export function ownerOf(from: TaskState): 'allocator' | 'scheduler' | 'agent' | 'reaper' {
  switch (from) {
    case 'new':
      return 'allocator';
    case 'pending':
      return 'scheduler';
    case 'assigned':
    case 'accepted':
    case 'preparing':
    case 'ready':
    case 'starting':
    case 'running':
      return 'agent';
    case 'complete':
    case 'shutdown':
    case 'failed':
    case 'rejected':
    case 'remove':
    case 'orphaned':
      return 'reaper';
    default:
      return from satisfies never;
  }
}
