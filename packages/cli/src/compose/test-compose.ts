import { posix } from 'node:path';
import { isClusterError } from '@swarmctl/shared/kit';
import { type ReadStack, readStack, type StackFiles } from './read-stack.ts';

// For tests: compose files that stand in the test itself.

type Given = Partial<Pick<StackFiles, 'env' | 'envFiles' | 'profiles' | 'name' | 'files'>>;

/** The first file is the one that is read, unless `files` says otherwise. They lie in /app. */
export function tryCompose(files: Readonly<Record<string, string>> | string, given: Given = {}): ReadStack {
  const all = typeof files === 'string' ? { 'c.yaml': files } : files;
  const folder = '/app';
  return readStack({
    files: Object.keys(all).slice(0, 1),
    env: {},
    profiles: [],
    cwd: folder,
    home: '/home/me',
    name: 's',
    ...given,
    read: (path) => {
      const content = all[posix.relative(folder, path)];
      if (content === undefined) throw Object.assign(new Error(`no file ${path}`), { code: 'ENOENT' });
      return Buffer.from(content);
    },
  });
}

/** What is said of files that are wrong, a line each. */
export function problemsOf(files: Readonly<Record<string, string>> | string, given: Given = {}): string[] {
  try {
    tryCompose(files, given);
    return [];
  } catch (error) {
    if (isClusterError(error)) return error.message.split('\n');
    throw error;
  }
}
