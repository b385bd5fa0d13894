export { type PayloadSource, PayloadStore } from './payload-store.ts';
export { createTaskMounts, type FileMount, type TaskMounts } from './task-mounts.ts';
