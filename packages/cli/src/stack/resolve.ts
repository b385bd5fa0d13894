import type { Service } from '@swarmctl/shared/model';
import { imageLabel } from '../compose/names.ts';
import type { Stack, StackService } from '../compose/stack.ts';
import { registryAuthHeader } from '../registry-auth.ts';
import type { Shell } from '../runtime.ts';
import { withDigest } from '../service/resolve-image.ts';

// Images by tag are pinned to the digests that their registries give them now, before the plan is made, so that it shows what would change.

export const resolveWishes = ['always', 'changed', 'never'] as const;
export type ResolveWish = (typeof resolveWishes)[number];

/** `changed`: those of services that are new, or had another image in their file. What cannot be resolved stays as it is, with a warning. */
export async function resolved(
  stack: Stack,
  stored: readonly Service[],
  { wish, withAuth, shell }: { readonly wish: ResolveWish; readonly withAuth: boolean; readonly shell: Shell },
): Promise<Stack> {
  const before = new Map(stored.map(({ Spec }) => [Spec.Name, Spec.Labels[imageLabel]]));
  const isAsked = ({ name, spec }: StackService) =>
    wish === 'always' || (wish === 'changed' && before.get(name) !== spec.Labels?.[imageLabel]);
  const services = await Promise.all(
    stack.services.map(async (service) => {
      if (!isAsked(service)) return service;
      const image = service.spec.TaskTemplate?.ContainerSpec?.Image ?? '';
      const spec = await withDigest(service.spec, withAuth ? registryAuthHeader(image, shell.env) : {}, shell);
      const own = service.spec.TaskTemplate?.Placement;
      // What the file says of platforms counts.
      const isOwn = own?.Platforms !== undefined && spec !== service.spec;
      return { ...service, spec: isOwn ? { ...spec, TaskTemplate: { ...spec.TaskTemplate, Placement: own } } : spec };
    }),
  );
  return { ...stack, services };
}
