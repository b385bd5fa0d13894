import { createServer } from 'node:net';
import { beforeEach, describe, expect, it } from 'vitest';
import type { CommandResult } from '../command.ts';
import { emptyTable, type NodeTable } from '../plan.ts';
import type { MeshState } from '../types.ts';
import { asksIfDead, DepartedTargets } from './departed.ts';

const mesh: MeshState = {
  ...{ device: 'swm', self: 1, addresses: { v4: '198.18.0.1', v6: 'fd73::1' }, mark: 0x5377_0000 },
  ...{ marks: new Map(), senders: [], own: [{ node: '10.0.0.2', mesh: '198.18.0.2' }] },
  wayTo: () => ({ kind: 'masquerade', v4: '10.0.0.2' }),
};

/** `address port` each. */
const table = (...targets: string[]): NodeTable => ({
  ...emptyTable,
  mesh,
  ports: new Map([
    [
      'tcp/80',
      {
        ...{ key: 'tcp/80', protocol: 'tcp', port: 80 },
        targets: {
          4: targets.map((text) => ({ addr: text.split(' ')[0] ?? '', port: Number(text.split(' ')[1]) })),
          6: [],
        },
      },
    ],
  ]),
});

const line = (answering: string, port: number) =>
  `tcp      6 431999 ESTABLISHED src=10.0.0.9 dst=10.0.0.1 sport=1 dport=80 src=${answering} dst=10.0.0.9 sport=${port} dport=1 [ASSURED] mark=0 use=1`;

describe('DepartedTargets', () => {
  let calls: string[];
  let flows: string[];
  let departed: DepartedTargets;
  const run = async (_: string, args: readonly string[]): Promise<CommandResult> => {
    calls.push(args.join(' '));
    return { code: 0, stdout: args[0] === '-L' ? flows.join('\n') : '', stderr: '' };
  };
  beforeEach(() => {
    [calls, flows, departed] = [[], [], new DepartedTargets()];
  });

  it('forgets connections to the dead, asking after those on other nodes beside the mesh', async () => {
    departed.changed(table('172.17.0.2 80', '198.18.0.2 32768'), table());
    flows = [line('172.17.0.2', 80), line('198.18.0.2', 32768), line('198.18.0.2', 32769)];
    const asked: string[] = [];
    const isDead = async ({ addr, port }: { addr: string; port: number }) => {
      asked.push(`${addr} ${port}`);
      return addr === '10.0.0.2';
    };
    await departed.look(run, isDead);
    expect(asked).toEqual(['172.17.0.2 80', '10.0.0.2 32768']);
    expect(calls).toEqual([
      '-L -f ipv4 -p tcp --reply-src 172.17.0.2',
      '-L -f ipv4 -p tcp --reply-src 198.18.0.2',
      '-D -f ipv4 -p tcp --orig-dst 10.0.0.1 --orig-port-dst 80 --reply-src 198.18.0.2 --reply-port-src 32768',
    ]);
    expect(departed.size).toBe(1);
  });

  it('thinks no more of those without connections, nor of those that are back', async () => {
    departed.changed(table('172.17.0.2 80', '172.17.0.3 80'), table());
    departed.changed(table(), table('172.17.0.3 80'));
    expect(departed.size).toBe(1);
    await departed.look(run, () => Promise.reject(new Error('nobody to ask after')));
    expect(departed.size).toBe(0);
    await departed.look(run, () => Promise.reject(new Error('nobody to ask after')));
    expect(calls).toEqual(['-L -f ipv4 -p tcp --reply-src 172.17.0.2']);
  });
});

describe('asksIfDead', () => {
  const calls: string[] = [];
  const run = async (_: string, args: readonly string[]): Promise<CommandResult> => {
    calls.push(args.join(' '));
    return { code: 0, stdout: '127.0.0.1 dev br0 lladdr 02:42:ac:11:00:02 REACHABLE \n', stderr: '' };
  };
  const { signal } = new AbortController();

  it('takes an answer and a refusal for life, and has the kernel look', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const isDead = asksIfDead(run, () => undefined, signal);
    expect(await isDead({ addr: '127.0.0.1', port })).toBe(false);
    await new Promise((resolve) => server.close(resolve));
    expect(await isDead({ addr: '127.0.0.1', port })).toBe(false);
    expect(calls.slice(0, 2)).toEqual(['neigh show to 127.0.0.1', 'neigh change 127.0.0.1 dev br0 nud probe']);
  });

  it('takes the mesh’s word for a node', async () => {
    const isDead = asksIfDead(run, () => ({ ...mesh, gone: new Set(['n2']) }), signal);
    expect(await isDead({ addr: '10.0.0.2', port: 80 })).toBe(true);
  });
});
