import { parseImage, type RegistryAuth, withTag } from '@swarmctl/shared/model';
import type Docker from 'dockerode';
import { RuntimeError } from '../types.ts';
import { engineText, isUnreachable } from './errors.ts';

// Pulls an image that the engine does not have.

interface PullProgress {
  readonly error?: string;
  readonly errorDetail?: { readonly message?: string };
}

export interface Pull {
  readonly image: string;
  /** Absent: as anybody. */
  readonly auth: RegistryAuth | undefined;
}

/** Throws `No such image: …`, permanent, when it cannot be had. */
export async function pullImage(docker: Docker, { image, auth }: Pull, signal: AbortSignal): Promise<void> {
  // A name without a tag would pull every tag of it.
  const problem = await pull(docker, { image: withTag(image), auth }, signal).catch((error: unknown) => {
    if (signal.aborted || isUnreachable(error)) throw error;
    return engineText(error);
  });
  if (problem === undefined) return;
  throw new RuntimeError(`No such image: ${image}${whyNot(problem, { image, auth })}`, {
    permanent: true,
    cause: problem,
  });
}

function whyNot(problem: string, { image, auth }: Pull): string {
  if (/unauthorized|authentication required|no basic auth|incorrect username|401/i.test(problem)) {
    return auth
      ? ` (the registry refuses the service's credentials: ${problem})`
      : ` (the registry wants credentials, and the service has none: ${problem})`;
  }
  if (!/not found|manifest unknown|does not exist|access denied|denied:/i.test(problem)) {
    return ` (pulling it failed: ${problem})`;
  }
  // Docker's own says so of all that it does not have.
  const isPrivate = /denied/i.test(problem) && parseImage(image)?.registry !== 'docker.io';
  if (!isPrivate) return '';
  return auth
    ? ` (the registry denies it to the service's credentials: ${problem})`
    : ` (the registry denies it to those without credentials, and the service has none: ${problem})`;
}

/** Resolves when it is here, or with what the registry said. */
async function pull(docker: Docker, { image, auth }: Pull, signal: AbortSignal): Promise<string | undefined> {
  const stream = await docker.pull(image, { abortSignal: signal, ...(auth && { authconfig: auth }) });
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
