import { describe, expect, it } from 'vitest';
import type { CommandResult } from '../command.ts';
import type { Target } from '../plan.ts';
import { forgetStaleUdp, parseFlows, staleFlows } from './conntrack.ts';

/** All as `address port`. */
const line = (client: string, asked: string, answering: string) => {
  const [from, sport] = client.split(' ');
  const [to, dport] = asked.split(' ');
  const [by, port] = answering.split(' ');
  return (
    `udp      17 29 src=${from} dst=${to} sport=${sport} dport=${dport} [UNREPLIED] ` +
    `src=${by} dst=10.0.0.1 sport=${port} dport=${sport} mark=0 use=1`
  );
};

const flows4 = [
  line('10.0.0.9 1000', '10.0.0.1 53', '10.0.0.2 5353'),
  line('10.0.0.8 1000', '10.0.0.1 53', '10.0.0.2 5353'),
  line('10.0.0.9 1001', '10.0.0.1 53', '10.0.0.3 5353'),
  line('10.0.0.9 1002', '10.0.0.1 53', '10.0.0.1 53'),
  line('10.0.0.1 1003', '8.8.8.8 53', '8.8.8.8 53'),
].join('\n');
const flows6 = line('fd00::9 1000', 'fd00::1 53', 'fd00::2 5353');

const wanted = ({ addr, port }: Target) => {
  if (port !== 53) return undefined;
  return addr === '10.0.0.1' ? [{ addr: '10.0.0.3', port: 5353 }] : addr === 'fd00::1' ? [] : undefined;
};

describe('staleFlows', () => {
  it('are those to our addresses that lead elsewhere than they should, once for all clients', () => {
    expect(staleFlows(parseFlows(flows4), wanted)).toEqual([
      { asked: { addr: '10.0.0.1', port: 53 }, answering: { addr: '10.0.0.2', port: 5353 } },
      { asked: { addr: '10.0.0.1', port: 53 }, answering: { addr: '10.0.0.1', port: 53 } },
    ]);
    expect(staleFlows(parseFlows(''), wanted)).toEqual([]);
  });

  it('knows TCP connections that are not over', () => {
    const tcp = (state: string) =>
      `tcp      6 431999 ${state} src=10.0.0.9 dst=10.0.0.1 sport=1 dport=80 src=10.0.0.2 dst=10.0.0.9 sport=8080 dport=1 [ASSURED] mark=0 use=1`;
    expect(parseFlows(['ESTABLISHED', 'TIME_WAIT', 'CLOSE', 'CLOSE_WAIT'].map(tcp).join('\n'))).toHaveLength(2);
  });
});

describe('forgetStaleUdp', () => {
  const calls: string[] = [];
  const run = async (program: string, args: readonly string[]): Promise<CommandResult> => {
    calls.push([program, ...args].join(' '));
    const stdout = args[0] === '-L' ? (args.includes('ipv6') ? flows6 : flows4) : '';
    return { code: 0, stdout, stderr: '' };
  };

  it('deletes them in both families', async () => {
    calls.length = 0;
    await forgetStaleUdp(run, new Set([53]), wanted);
    expect(calls).toEqual([
      'conntrack -L -f ipv4 -p udp --orig-port-dst 53',
      'conntrack -D -f ipv4 -p udp --orig-dst 10.0.0.1 --orig-port-dst 53 --reply-src 10.0.0.2 --reply-port-src 5353',
      'conntrack -D -f ipv4 -p udp --orig-dst 10.0.0.1 --orig-port-dst 53 --reply-src 10.0.0.1 --reply-port-src 53',
      'conntrack -L -f ipv6 -p udp --orig-port-dst 53',
      'conntrack -D -f ipv6 -p udp --orig-dst fd00::1 --orig-port-dst 53 --reply-src fd00::2 --reply-port-src 5353',
    ]);
  });

  it('lists once for many ports, and looks at no others', async () => {
    calls.length = 0;
    await forgetStaleUdp(run, new Set([1, 2, 3, 4, 5]), () => []);
    expect(calls).toEqual(['conntrack -L -f ipv4 -p udp', 'conntrack -L -f ipv6 -p udp']);
    calls.length = 0;
    await forgetStaleUdp(run, new Set(), wanted);
    expect(calls).toEqual([]);
  });

  it('says when there is no such tool', async () => {
    const missing = () => Promise.reject(new Error('conntrack is not installed'));
    await expect(forgetStaleUdp(missing, new Set([53]), wanted)).rejects.toThrow('conntrack is not installed');
  });
});
