export * from './changes.ts';
export * from './defaults.ts';
export * from './labels.ts';
export * from './objects.ts';
export * from './specs.ts';
export * from './task-state.ts';
