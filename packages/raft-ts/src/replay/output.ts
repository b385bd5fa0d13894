import type { LogLevel } from '../core/config.ts';
import { StepError } from './step-error.ts';

// What a script's command prints: the log lines of its level, and, unless it is quiet, the results.

const levels = ['debug', 'info', 'warn', 'error', 'fatal', 'none'] as const;

export class Output {
  #text = '';
  #level = 0;

  get quiet(): boolean {
    return this.#level === levels.length - 1;
  }

  get level(): string {
    return levels[this.#level]!;
  }

  setLevel(name: string): void {
    const level = (levels as readonly string[]).indexOf(name.toLowerCase());
    if (level < 0) throw new StepError(`log levels must be either of [${levels.join(' ').toUpperCase()}]`);
    this.#level = level;
  }

  log(level: LogLevel, message: string): void {
    if (levels.indexOf(level) >= this.#level) this.write(`${level.toUpperCase()} ${message}\n`);
  }

  write(text: string): void {
    if (!this.quiet) this.#text += text;
  }

  /** Returns what was printed and starts anew. */
  take(): string {
    const text = this.#text;
    this.#text = '';
    return text;
  }

  /** Runs `work` and indents what it prints. */
  indented(work: () => void): void {
    const outer = this.take();
    try {
      work();
    } finally {
      const lines = this.take().split('\n');
      if (lines.at(-1) === '') lines.pop();
      this.#text = outer + lines.map((line) => `  ${line}\n`).join('');
    }
  }
}
