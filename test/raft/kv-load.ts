import { connect, type Socket } from 'node:net';

// Load in a process of its own, on one server after the other: so many connections, each with one write at a time, for so long, over HTTP/1.1
// written by hand so that the client takes little of the machine. Settings as JSON in the argument; for each turn the latencies in ms, and what
// failed, as JSON on stdout.

export interface LoadSettings {
  /** A turn for each, in this order. */
  readonly ports: readonly number[];
  readonly clients: number;
  readonly bytes: number;
  /** Of each turn. */
  readonly ms: number;
  /** Not counted at the beginning of each turn. */
  readonly warmUpMs: number;
}

export interface LoadResult {
  readonly latencies: readonly number[];
  readonly failures: number;
}

const { ports, clients, bytes, ms, warmUpMs } = JSON.parse(process.argv[2] ?? '{}') as LoadSettings;
const value = Buffer.alloc(bytes, 'v').toString('base64');
let keys = 0;

function requestBytes(): string {
  const key = Buffer.from(`key-${keys++ % 10_000}`).toString('base64');
  const body = `{"key":"${key}","value":"${value}"}`;
  return `POST /v3/kv/put HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

/** The length of the answer at the start of `text` once it is whole; both servers give a content-length for what is this small. */
function wholeAnswer(text: string): number | undefined {
  const head = text.indexOf('\r\n\r\n');
  if (head < 0) return undefined;
  const length = /content-length: (\d+)/i.exec(text.slice(0, head));
  const size = head + 4 + Number(length?.[1] ?? 0);
  return text.length >= size ? size : undefined;
}

function one(port: number, begin: number, result: { latencies: number[]; failures: number }): Promise<void> {
  const end = begin + ms;
  return new Promise((resolve) => {
    const socket: Socket = connect({ port, host: '127.0.0.1', noDelay: true });
    let text = '';
    let started = 0;
    const next = () => {
      started = performance.now();
      if (started >= end) {
        socket.destroy();
        resolve();
      } else socket.write(requestBytes());
    };
    socket.on('connect', next);
    socket.on('error', () => {
      result.failures++;
      resolve();
    });
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      const size = wholeAnswer(text);
      if (size === undefined) return;
      const now = performance.now();
      if (!text.startsWith('HTTP/1.1 200')) result.failures++;
      else if (started >= begin && now <= end) result.latencies.push(now - started);
      text = text.slice(size);
      next();
    });
  });
}

async function turn(port: number): Promise<LoadResult> {
  const begin = performance.now() + warmUpMs;
  const result = { latencies: [], failures: 0 };
  await Promise.all(Array.from({ length: clients }, () => one(port, begin, result)));
  return result;
}

const results: LoadResult[] = [];
for (const port of ports) results.push(await turn(port));
process.stdout.write(JSON.stringify(results));
