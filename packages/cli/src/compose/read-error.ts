import { messageOf } from '@swarmctl/shared/kit';

/** True of a file that is not there. */
export const isAbsent = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';

/** Why a file could not be read, without its path. */
export function whyUnread(error: unknown): string {
  if (isAbsent(error)) return 'there is no such file';
  return (error as NodeJS.ErrnoException).code === 'EISDIR' ? 'it is a folder' : messageOf(error);
}
