import { silentLogger } from '@swarmctl/shared/kit';
import { describe, expect, it } from 'vitest';
import type { CommandResult } from '../command.ts';
import { LinuxHost } from './host.ts';

// Where the node's word in a firewall goes, with an iptables that knows chains and rules by their text.

function firewall(chains: Record<string, string[]>, policy: string) {
  const answer = (code: number, stdout = ''): CommandResult => ({ code, stdout, stderr: '' });
  return async (tool: string, [, , verb, chain = '', ...words]: readonly string[]): Promise<CommandResult> => {
    if (tool !== 'iptables') throw new Error(`${tool} is not installed`);
    const [rules, rule] = [chains[chain], words.join(' ')];
    if (!rules) return answer(1);
    if (verb === '-S')
      return answer(0, [`-P ${chain} ${policy}`, ...rules.map((one) => `-A ${chain} ${one}`)].join('\n'));
    const at = rules.indexOf(rule);
    if (verb === '-I') rules.unshift(rule);
    else if (at < 0) return answer(1);
    else if (verb === '-D') rules.splice(at, 1);
    return answer(0);
  };
}

const ours = '-m conntrack --ctstate DNAT -m comment --comment swarmd_n1 -j ACCEPT';

describe('LinuxHost', () => {
  it.each<[string, Record<string, string[]>, string, Record<string, string[]>]>([
    ['Docker’s place', { 'DOCKER-USER': ['x'], FORWARD: [] }, 'DROP', { 'DOCKER-USER': [ours, 'x'], FORWARD: [] }],
    [
      'Docker’s place, once Docker is there',
      { 'DOCKER-USER': [], FORWARD: [ours] },
      'DROP',
      { 'DOCKER-USER': [ours], FORWARD: [] },
    ],
    ['first in FORWARD where that drops', { FORWARD: ['x'] }, 'DROP', { FORWARD: [ours, 'x'] }],
    ['first in FORWARD where its end rejects', { FORWARD: ['-j REJECT'] }, 'ACCEPT', { FORWARD: [ours, '-j REJECT'] }],
    ['nowhere else', { FORWARD: ['x'] }, 'ACCEPT', { FORWARD: ['x'] }],
  ])('is let through in %s', async (_, chains, policy, expected) => {
    const host = new LinuxHost('swarmd_n1', firewall(chains, policy), silentLogger);
    await host.admit();
    await host.admit();
    expect(chains).toEqual(expected);
    await host.dismiss();
    expect(Object.values(chains).flat()).not.toContain(ours);
  });
});
