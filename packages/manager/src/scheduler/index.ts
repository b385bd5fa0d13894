export { type HandMade, nodesForHandMade } from './by-hand.ts';
export { scheduler } from './scheduler.ts';
