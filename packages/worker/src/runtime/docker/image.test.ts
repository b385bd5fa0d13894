import type Docker from 'dockerode';
import { expect, test } from 'vitest';
import { pullImage } from './image.ts';

const denied = "pull access denied for a/b, repository does not exist or may require 'docker login'";
const ann = { username: 'ann', password: 'hidden-7' };

/** An engine whose pulls end with this error. */
const engineThatSays = (error: string) =>
  ({
    pull: async () => [Buffer.from(`${JSON.stringify({ errorDetail: { message: error } })}\n`)],
  }) as unknown as Docker;

test.each([
  ['reg:5000/a/b:1', undefined, 'manifest unknown', ''],
  ['a/b', undefined, denied, ''],
  [
    'reg:5000/a/b:1',
    undefined,
    denied,
    ` (the registry denies it to those without credentials, and the service has none: ${denied})`,
  ],
  ['reg:5000/a/b:1', ann, denied, ` (the registry denies it to the service's credentials: ${denied})`],
  [
    'reg:5000/a/b:1',
    undefined,
    'no basic auth credentials',
    ' (the registry wants credentials, and the service has none: no basic auth credentials)',
  ],
  [
    'reg:5000/a/b:1',
    ann,
    'unauthorized: incorrect username or password',
    " (the registry refuses the service's credentials: unauthorized: incorrect username or password)",
  ],
  ['reg:5000/a/b:1', ann, 'toomanyrequests: slow down', ' (pulling it failed: toomanyrequests: slow down)'],
])('%s that cannot be had with %j, %s', async (image, auth, error, why) => {
  await expect(pullImage(engineThatSays(error), { image, auth }, new AbortController().signal)).rejects.toThrow(
    expect.objectContaining({ message: `No such image: ${image}${why}`, permanent: true }),
  );
});
