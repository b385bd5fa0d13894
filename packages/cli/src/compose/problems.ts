import { ClusterError, type ErrorCode } from '@swarmctl/shared/kit';
import { type Path, type Place, showPath } from './tree.ts';

// What is wrong with a compose file: all of it, each with its place, so that one run shows everything.

interface Problem {
  readonly at: Place;
  readonly path: string;
  readonly message: string;
}

export class Problems {
  readonly #errors: Problem[] = [];
  readonly #warnings: Problem[] = [];

  error(at: Place, path: Path, message: string): void {
    add(this.#errors, { at, path: showPath(path), message });
  }

  /** Something that is done otherwise than somebody might think. */
  warn(at: Place, path: Path, message: string): void {
    add(this.#warnings, { at, path: showPath(path), message });
  }

  get hasErrors(): boolean {
    return this.#errors.length > 0;
  }

  /** Throws ClusterError with a line for each error, in the order of the file. */
  throwIfAny(code: ErrorCode = 'invalid-argument'): void {
    if (this.#errors.length === 0) return;
    const files = [...new Set(this.#errors.map(({ at }) => at.file))];
    const sorted = [...this.#errors].sort(
      ({ at: a }, { at: b }) => files.indexOf(a.file) - files.indexOf(b.file) || a.line - b.line || a.column - b.column,
    );
    throw new ClusterError(code, sorted.map((one) => show(one)).join('\n'));
  }

  /** Lines for the warnings so far. */
  takeWarnings(): string[] {
    return this.#warnings.splice(0).map((one) => show(one, 'warning: '));
  }
}

function add(list: Problem[], problem: Problem): void {
  const text = show(problem);
  if (!list.some((other) => show(other) === text)) list.push(problem);
}

const show = ({ at, path, message }: Problem, what = '') =>
  `${at.file}:${at.line}:${at.column}: ${what}${path === '' ? '' : `${path}: `}${message}`;
