export * from './network/index.ts';
export * from './runtime/index.ts';
