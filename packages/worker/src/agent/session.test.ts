import { ManualClock } from '@swarmctl/shared/kit';
import type { AgentMessage, ManagerMessage } from '@swarmctl/shared/wire';
import { describe, expect, it } from 'vitest';
import { FakeManagerStream } from '../../../../test/kit/fake-manager-stream.ts';
import type { LinkStream } from './link.ts';
import { AgentSession } from './session.ts';

describe('a session', () => {
  const hello = { type: 'hello' } as Extract<AgentMessage, { type: 'hello' }>;
  const open = () => {
    const [clock, stream] = [new ManualClock(), new FakeManagerStream()];
    const modules = { clock, applied: () => 7, message: () => undefined };
    const session = new AgentSession(stream as unknown as LinkStream, hello, modules);
    const hear = (message: ManagerMessage) => stream.emit('message', message);
    return { clock, stream, session, hear };
  };

  it('beats', async () => {
    const { clock, stream, session, hear } = open();
    for (let i = 0; i < 5; i++) {
      await clock.advance(1_000);
      hear({ type: 'heartbeat-ack' });
    }
    expect(stream.sent.map(({ type }) => type)).toEqual(['hello', ...Array(5).fill('heartbeat')]);
    expect(session.open).toBe(true);
  });

  it.each([0, 250, 500, 750])(
    'ends as soon as a grace has passed, however long after a beat the last word came: %i ms',
    async (ms) => {
      const { clock, session, hear } = open();
      await clock.advance(1_000 + ms);
      hear({ type: 'heartbeat-ack' });
      await clock.advance(3_249);
      expect(session.open).toBe(true);
      await clock.advance(1);
      expect(await session.ended).toEqual({ type: 'closed', reason: 'the manager is silent' });
    },
  );

  it('in doubt asks at once, and ends two seconds later without a word', async () => {
    const { clock, stream, session, hear } = open();
    hear({ type: 'heartbeat-period', heartbeatMs: 5_000 });
    await clock.advance(1_000);
    stream.sent.length = 0;
    session.doubt();
    expect(stream.sent).toEqual([{ type: 'heartbeat', revision: 7 }]);
    await clock.advance(1_999);
    expect(session.open).toBe(true);
    await clock.advance(1);
    expect(await session.ended).toEqual({ type: 'closed', reason: 'the manager is silent' });
    session.doubt();
    expect(stream.sent).toHaveLength(1);
  });

  it('in doubt goes on as ever at a word', async () => {
    const { clock, session, hear } = open();
    hear({ type: 'heartbeat-period', heartbeatMs: 5_000 });
    await clock.advance(1_000);
    session.doubt();
    await clock.advance(500);
    hear({ type: 'heartbeat-ack' });
    await clock.advance(15_249);
    expect(session.open).toBe(true);
    await clock.advance(1);
    expect(session.open).toBe(false);
  });
});
