import { ManualClock, settle } from '@swarmctl/shared/kit';
import type { AgentMessage, LogLine } from '@swarmctl/shared/wire';
import { expect, test } from 'vitest';
import { LogServer } from './log-server.ts';

test('what is followed until some time ends soon after it, though no line tells', async () => {
  const clock = new ManualClock();
  const sent: AgentMessage[] = [];
  const server = new LogServer({
    clock,
    send: (message) => sent.push(message),
    async *lines(taskId, _options, signal): AsyncGenerator<LogLine> {
      yield { taskId, stream: 'stdout', time: '2026-01-01T00:00:00.000000000Z', line: Buffer.from('hello') };
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    },
  });
  const until = `${(clock.now() + 5_000) / 1000}`;
  server.subscribe('s1', ['t1'], { follow: true, stdout: true, stderr: true, until });
  // The line waits for others to go with.
  await settle();
  await clock.advance(100);
  await clock.advance(4_900);
  expect(sent.map(({ type }) => type)).toEqual(['logs']);
  await clock.advance(1_000);
  expect(sent.at(-1)).toEqual({ type: 'logs-end', subscription: 's1' });
});
