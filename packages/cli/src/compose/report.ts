import { isClusterError } from '@swarmctl/shared/kit';
import type { Project } from './load.ts';
import type { Path } from './tree.ts';

// Says what is wrong at a path of the merged file.

export interface Report {
  error(path: Path, message: string): void;
  warn(path: Path, message: string): void;
  /** Runs a check of what is to be sent; what it throws is an error at `path`, or at the label that it is about, which stands under `labels`. */
  checked<T>(path: Path, check: () => T, labels?: Path): T | undefined;
}

export function reportOf({ problems, at }: Pick<Project, 'problems' | 'at'>): Report {
  const error = (path: Path, message: string) => problems.error(at(path), path, message);
  return {
    error,
    warn: (path, message) => problems.warn(at(path), path, message),
    checked: (path, check, labels = [...path, 'labels']) => {
      try {
        return check();
      } catch (failure) {
        if (!isClusterError(failure)) throw failure;
        const { label } = failure.data as { readonly label?: string };
        error(
          label === undefined ? path : [...labels, label],
          failure.message.replace(/^rpc error: code = \w+ desc = /, ''),
        );
        return undefined;
      }
    },
  };
}
