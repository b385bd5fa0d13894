import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import type { AddressInfo, Server } from 'node:net';

// Who follows GET /events of an API under test, and takes its lines as they come.

export interface EventLine {
  readonly Type: string;
  readonly Action: string;
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> };
  readonly 'swarmctl.revision': string;
}

export interface EventStream {
  readonly answer: IncomingMessage;
  /** The next line as it stands there; undefined at the end. */
  line(): Promise<string | undefined>;
  /** So many more; fewer at the end. */
  next(count: number): Promise<readonly EventLine[]>;
  /** All to the end. */
  rest(): Promise<readonly EventLine[]>;
  /** Resolves at the end, in whatever way. */
  ended(): Promise<void>;
  stop(): void;
}

/** Of a server that listens on 127.0.0.1. */
export async function followEvents(server: Server, query = ''): Promise<EventStream> {
  const { port } = server.address() as AddressInfo;
  const asked = get({ host: '127.0.0.1', port, path: `/v1.50/events${query}`, agent: false });
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  const lines: string[] = [];
  let text = '';
  let wake = () => {};
  let isEnded = false;
  answer.on('data', (chunk) => {
    const whole = `${text}${chunk}`.split('\n');
    text = whole.pop() ?? '';
    lines.push(...whole);
    wake();
  });
  // Who stops breaks it off.
  answer.on('error', () => {});
  answer.once('close', () => {
    isEnded = true;
    wake();
  });
  const until = async (test: () => boolean) => {
    while (!test() && !isEnded) await new Promise<void>((resolve) => (wake = resolve));
  };
  const take = (count: number) => lines.splice(0, count).map((line) => JSON.parse(line) as EventLine);
  return {
    answer,
    async line() {
      await until(() => lines.length > 0);
      return lines.shift();
    },
    async next(count) {
      await until(() => lines.length >= count);
      return take(count);
    },
    async rest() {
      await until(() => false);
      return take(lines.length);
    },
    ended: () => until(() => false),
    stop: () => answer.destroy(),
  };
}
