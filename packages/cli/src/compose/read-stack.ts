import { type LoadOptions, loadCompose, type Project, shown, startFolder } from './load.ts';
import { reportOf } from './report.ts';
import { type Stack, toStack } from './stack.ts';

// From a command line's files to a checked stack.

export interface StackFiles extends Omit<LoadOptions, 'read'> {
  /** Throws as `readFileSync` does. */
  readonly read: (path: string) => Buffer;
}

export interface ReadStack {
  readonly project: Project;
  readonly stack: Stack;
  /** A line each. */
  readonly warnings: readonly string[];
}

/** Throws ClusterError with all that is wrong, a line each. */
export function readStack(files: StackFiles): ReadStack {
  const project = loadCompose({ ...files, read: (path) => files.read(path).toString('utf8') });
  const stack = toStack({
    stack: files.name,
    project,
    report: reportOf(project),
    read: files.read,
    show: (path) => shown(path, files),
    folder: startFolder(files),
    home: files.home,
  });
  return { project, stack, warnings: project.problems.takeWarnings() };
}
