export * from './dispatch.ts';
export * from './engine.ts';
export * from './engine-frames.ts';
export * from './join.ts';
export * from './log-progress.ts';
export * from './logs.ts';
