export * from './agent/index.ts';
export * from './engine-door/index.ts';
export { LogHistory } from './logs/log-history.ts';
export * from './network/index.ts';
export * from './runtime/index.ts';
export * from './secrets/index.ts';
