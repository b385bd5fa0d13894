export * from './dispatch.ts';
export * from './engine.ts';
export * from './join.ts';
