import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../packages/cli/src/main.ts';

// `swarmctl` in this process, which spares the start of another: before real daemons, and before one that says what the test wants and keeps what it
// was asked. What reads its standard input, and `exec`, which writes to the terminal itself, need a process of their own.

/** Runs one command line to its end. */
export async function swarmctl(
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  let [out, err] = ['', ''];
  const { signal } = new AbortController();
  const code = await run(
    args,
    env,
    signal,
    (text) => (out += text),
    (text) => (err += text),
  );
  return { code, out, err };
}

export interface Asked {
  readonly method: string;
  readonly url: string;
  readonly body: string;
}

export interface FakeDaemon {
  /** Its own, where the configuration is as well. */
  readonly folder: string;
  /** In their order. */
  readonly requests: Asked[];
  /** The JSON of the latest one. */
  // biome-ignore lint/suspicious/noExplicitAny: whatever was sent
  sent(): any;
  swarmctl(...argv: string[]): Promise<{ readonly status: number; readonly out: string; readonly err: string }>;
  close(): void;
}

export async function fakeDaemon(answer: (asked: Asked, response: ServerResponse) => unknown): Promise<FakeDaemon> {
  const folder = mkdtempSync(join(tmpdir(), 'swarmctl-'));
  const requests: Asked[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request.setEncoding('utf8')) body += chunk;
    const asked = { method: request.method ?? '', url: request.url ?? '', body };
    requests.push(asked);
    answer(asked, response);
  });
  const socket = join(folder, 'api.sock');
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  const env = { SWARMCTL_CONFIG: folder, SWARMD_HOST: `unix://${socket}` };
  return {
    folder,
    requests,
    sent: () => JSON.parse(requests.at(-1)?.body ?? ''),
    swarmctl: async (...argv) => {
      const { code: status, out, err } = await swarmctl(argv, env);
      return { status, out, err };
    },
    close: () => {
      server.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
