import { EventEmitter } from 'node:events';
import type { AgentMessage } from '@swarmctl/shared/wire';

// The agent's stream to a manager: what it sent is kept, and what the manager says is emitted by the test.

export class FakeManagerStream extends EventEmitter {
  readonly sent: AgentMessage[] = [];
  closed = false;
  send(message: AgentMessage): void {
    this.sent.push(message);
  }
  destroy(): void {
    this.closed = true;
    this.emit('close');
  }
}
