export * from './dispatch.ts';
export * from './join.ts';
