import { createHash } from 'node:crypto';
import type { ConfState, Snapshot } from '../../../packages/raft-ts/src/core/index.ts';

// The replicated state of the simulation: a hash chained over all applied entries, which differs if anything ever did.

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class Machine {
  applied = 0;
  hash = '';
  confState: ConfState;

  constructor(snapshot: Snapshot) {
    this.confState = snapshot.meta.confState;
    this.restore(snapshot);
  }

  restore(snapshot: Snapshot): void {
    this.applied = snapshot.meta.index;
    this.hash = decoder.decode(snapshot.data);
    this.confState = snapshot.meta.confState;
  }

  apply(index: number, data: Uint8Array): void {
    this.applied = index;
    this.hash = createHash('sha1').update(this.hash).update(`${index}:`).update(data).digest('base64');
  }

  encode(): Uint8Array {
    return encoder.encode(this.hash);
  }
}
