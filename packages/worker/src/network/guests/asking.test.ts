import { expect, it } from 'vitest';
import { askingText } from './asking.ts';

it('what the engine asks for a guest goes to the node’s resolver', () => {
  const text = askingText({ servers: ['192.0.2.53', 'fd00::53', '192.0.2.54'], resolver: '10.0.1.128' });
  expect(text.split('\n').slice(0, 2)).toEqual(['table inet swarmd_names', 'delete table inet swarmd_names']);
  expect(text).toContain(
    'ip daddr { 192.0.2.53, 192.0.2.54 } meta l4proto { tcp, udp } th dport 53 dnat ip to 10.0.1.128',
  );
});

it.each([[[]], [['fd00::53']], [['10.0.1.128']]])(
  'of %j it can ask nobody: what it is asked goes there itself',
  (servers) => {
    expect(askingText({ servers, resolver: '10.0.1.128' })).toContain('ip daddr { 127.0.0.11 } meta l4proto');
  },
);
