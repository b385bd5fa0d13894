import { expect, test } from 'vitest';
import { startProblem } from './userspace.ts';

const started = '┌────┐\n';

test.each([
  ['', 'wireguard-go does not run: it ended with code 1'],
  [`${started}ERROR: (swg1) boom\n`, 'wireguard-go does not run: it ended with code 1: ERROR: (swg1) boom'],
])('what the program printed last says why it does not run', (output, problem) => {
  expect(startProblem('it ended with code 1', output, '128')).toBe(problem);
});

test('where inotify instances are used up, the sysctl is named', () => {
  const output = `${started}ERROR: (swg1) 2026/11/28 Failed to listen on uapi socket: too many open files\n`;
  const problem = startProblem('it ended with code 1', output, '128');
  expect(problem).toMatch(
    /too many open files: it needs an inotify instance, .*\(128\): raise sysctl fs\.inotify\.max_user_instances$/,
  );
  expect(startProblem('it ended with code 1', 'Failed to create TUN device: too many open files', '128')).not.toMatch(
    /inotify/,
  );
});
