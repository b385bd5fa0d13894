import { ClusterError, messageOf } from '@swarmctl/shared/kit';
import { parseImage, type RegistryAuth, type Service, withTag } from '@swarmctl/shared/model';
import type { RegistryClient } from './client.ts';

// An image by tag means whatever the tag points to when a node pulls it; by digest it is one for all nodes. Clients resolve it themselves since
// API 1.30; for older ones, and where the label swarmctl.pin asks for it, the manager does.

export interface Pinned {
  readonly spec: Service['Spec'];
  readonly warning?: string;
}

/** Throws `invalid-argument` when the label insists and it cannot be had. */
export async function pinned(
  registries: Pick<RegistryClient, 'distribution'>,
  spec: Service['Spec'],
  auth: RegistryAuth | undefined,
  minor: number,
): Promise<Pinned> {
  const wish = spec.Labels['swarmctl.pin'] ?? (minor < 30 ? 'try' : undefined);
  const { ContainerSpec = {}, Placement } = spec.TaskTemplate;
  const image = ContainerSpec.Image ?? '';
  const name = parseImage(image);
  if (wish === undefined || !name || name.digest !== undefined) return { spec };
  try {
    const { Descriptor, Platforms } = await registries.distribution(name, auth);
    const found = Platforms.map((platform) => platform as Readonly<Record<string, string>>);
    const platforms = found.map(({ architecture = '', os = '' }) => ({ Architecture: architecture, OS: os }));
    const withPlatforms = { Placement: { ...Placement, Platforms: platforms } };
    const TaskTemplate = {
      ...spec.TaskTemplate,
      ContainerSpec: { ...ContainerSpec, Image: `${withTag(image)}@${Descriptor.digest}` },
      ...(!Placement?.Platforms?.length && platforms.length > 0 && withPlatforms),
    };
    return { spec: { ...spec, TaskTemplate } };
  } catch (error) {
    if (wish === 'strict') {
      throw new ClusterError(
        'invalid-argument',
        `label 'swarmctl.pin': image ${image} cannot be pinned to a digest: ${messageOf(error)}`,
      );
    }
    return {
      spec,
      // Docker's words.
      warning:
        `image ${image} could not be accessed on a registry to record its digest. Each node will access ${image} independently, ` +
        `possibly leading to different nodes running different versions of the image (${messageOf(error)})`,
    };
  }
}
