import type Docker from 'dockerode';
import { RuntimeError } from '../types.ts';
import { engineText, isUnreachable } from './errors.ts';

// Pulls an image that the engine does not have.

interface PullProgress {
  readonly error?: string;
  readonly errorDetail?: { readonly message?: string };
}

/** Throws `No such image: …`, permanent, when it cannot be had. */
export async function pullImage(docker: Docker, image: string, signal: AbortSignal): Promise<void> {
  const problem = await pull(docker, withTag(image), signal).catch((error: unknown) => {
    if (signal.aborted || isUnreachable(error)) throw error;
    return engineText(error);
  });
  if (problem === undefined) return;
  const unknown = /not found|manifest unknown|does not exist|access denied|denied:/i.test(problem);
  throw new RuntimeError(`No such image: ${image}${unknown ? '' : ` (pulling it failed: ${problem})`}`, {
    permanent: true,
    cause: problem,
  });
}

/** A name without a tag would pull every tag of it. */
export function withTag(image: string): string {
  const name = image.slice(image.lastIndexOf('/') + 1);
  return image.includes('@') || name.includes(':') ? image : `${image}:latest`;
}

/** Resolves when it is here, or with what the registry said. */
async function pull(docker: Docker, image: string, signal: AbortSignal): Promise<string | undefined> {
  const stream = await docker.pull(image, { abortSignal: signal });
  let rest = '';
  let problem: string | undefined;
  for await (const chunk of stream) {
    const lines = (rest + chunk.toString()).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) problem = problemOf(line) ?? problem;
  }
  return problemOf(rest) ?? problem;
}

function problemOf(line: string): string | undefined {
  if (line.trim() === '') return undefined;
  const progress = JSON.parse(line) as PullProgress;
  return progress.errorDetail?.message ?? progress.error;
}
