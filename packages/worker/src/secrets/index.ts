export { type PayloadSource, PayloadStore } from './payload-store.ts';
