export { certificateSecrets } from './certificates.ts';
export { Dispatcher } from './dispatcher.ts';
export { EngineStreams } from './engine-streams.ts';
export { ingressTable } from './ingress-table.ts';
export { redirectDispatch } from './redirect.ts';
export type { DispatcherModules, DispatcherOptions } from './types.ts';
