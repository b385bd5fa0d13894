export * from './clock.ts';
export * from './errors.ts';
export * from './frames.ts';
export * from './join-token.ts';
export * from './log.ts';
export * from './pki.ts';
export * from './random.ts';
