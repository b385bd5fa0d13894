export { type DaemonConfig, readConfig } from './config.ts';
export { main } from './main.ts';
export { LocalNode, type LocalNodeModules } from './node.ts';
export type { StartWorker, WorkerHandle, WorkerModules, WorkerOptions, WorkerStatus } from './ports.ts';
