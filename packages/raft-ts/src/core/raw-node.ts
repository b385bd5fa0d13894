import type { RawNodeConfig } from './config.ts';
import { fullConfig } from './config.ts';
import type { ConfChange, ConfState, Message, RawNodeStatus, Ready, StepResult } from './types.ts';

// The door of the core: a member as a pure state machine that hands its host batches of work.

/** The shape of the core's door; what each method does is said on the class. */
export class RawNode {
  constructor(config: RawNodeConfig) {
    fullConfig(config);
  }
  tick(): void {
    throw new Error('the core is not built yet');
  }
  step(_message: Message): StepResult {
    throw new Error('the core is not built yet');
  }
  propose(_data: Uint8Array): StepResult {
    throw new Error('the core is not built yet');
  }
  proposeConfChange(_change: ConfChange): StepResult {
    throw new Error('the core is not built yet');
  }
  readIndex(_context: Uint8Array): StepResult {
    throw new Error('the core is not built yet');
  }
  transferLeader(_to: number): void {
    throw new Error('the core is not built yet');
  }
  campaign(): void {
    throw new Error('the core is not built yet');
  }
  reportUnreachable(_id: number): void {
    throw new Error('the core is not built yet');
  }
  reportSnapshot(_id: number, _outcome: 'finished' | 'failed'): void {
    throw new Error('the core is not built yet');
  }
  forgetLeader(): void {
    throw new Error('the core is not built yet');
  }
  hasReady(): boolean {
    throw new Error('the core is not built yet');
  }
  ready(): Ready {
    throw new Error('the core is not built yet');
  }
  advance(): void {
    throw new Error('the core is not built yet');
  }
  applyConfChange(_change: ConfChange): ConfState {
    throw new Error('the core is not built yet');
  }
  status(): RawNodeStatus {
    throw new Error('the core is not built yet');
  }
}
