import { describe, expect, it } from 'vitest';
import type { CommandResult } from '../command.ts';
import { forgetStaleUdp, staleFlows } from './conntrack.ts';

const line = (client: string, asked: string, answering: string) => {
  const [from, sport] = client.split(':');
  const [to, dport] = asked.split(':');
  const [by, port] = answering.split(':');
  return (
    `udp      17 29 src=${from} dst=${to} sport=${sport} dport=${dport} [UNREPLIED] ` +
    `src=${by} dst=10.0.0.1 sport=${port} dport=${sport} mark=0 use=1`
  );
};

const flows = [
  line('10.0.0.9:1000', '10.0.0.1:53', '10.0.0.2:5353'),
  line('10.0.0.9:1001', '10.0.0.1:53', '10.0.0.3:5353'),
  line('10.0.0.9:1002', '10.0.0.1:53', '10.0.0.1:53'),
  line('10.0.0.1:1003', '8.8.8.8:53', '8.8.8.8:53'),
].join('\n');

const isOurs = (addr: string) => addr === '10.0.0.1';
const port = { port: 53, targets: [{ addr: '10.0.0.3', port: 5353 }] };

describe('staleFlows', () => {
  it('are those to our addresses that lead elsewhere than to a backend', () => {
    expect(staleFlows(flows, port, isOurs).map(({ client }) => client.port)).toEqual([1000, 1002]);
    expect(staleFlows('', port, isOurs)).toEqual([]);
  });
});

describe('forgetStaleUdp', () => {
  it('deletes them one by one', async () => {
    const calls: string[] = [];
    const run = async (program: string, args: readonly string[]): Promise<CommandResult> => {
      calls.push([program, ...args].join(' '));
      return { code: 0, stdout: args[0] === '-L' ? flows : '', stderr: '' };
    };
    expect(await forgetStaleUdp(run, [port], isOurs)).toBe(true);
    expect(calls).toEqual([
      'conntrack -L -p udp --orig-port-dst 53',
      'conntrack -D -p udp --orig-src 10.0.0.9 --orig-dst 10.0.0.1 --orig-port-src 1000 --orig-port-dst 53',
      'conntrack -D -p udp --orig-src 10.0.0.9 --orig-dst 10.0.0.1 --orig-port-src 1002 --orig-port-dst 53',
    ]);
  });

  it('says when there is no such tool', async () => {
    expect(await forgetStaleUdp(() => Promise.reject(new Error('conntrack is not installed')), [port], isOurs)).toBe(
      false,
    );
  });
});
