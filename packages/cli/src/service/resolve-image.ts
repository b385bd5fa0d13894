import { parseImage, type ServiceSpec, withTag } from '@swarmctl/shared/model';
import { explain, type Shell } from '../runtime.ts';

// As Docker's client does it: an image by tag is pinned to the digest that its registry gives it now.

interface Distribution {
  readonly Descriptor: { readonly digest: string };
  readonly Platforms: readonly { readonly architecture?: string; readonly os?: string }[] | null;
}

/** What cannot be resolved stays as it is, with a warning. */
export async function withDigest(
  spec: ServiceSpec,
  headers: Readonly<Record<string, string>>,
  shell: Shell,
): Promise<ServiceSpec> {
  const image = spec.TaskTemplate?.ContainerSpec?.Image ?? '';
  const name = parseImage(image);
  if (!name || name.digest !== undefined || spec.Labels?.['swarmctl.runtime'] === 'process') return spec;
  try {
    const { Descriptor, Platforms } = await shell
      .client()
      .get<Distribution>(`/distribution/${image}/json`, {}, headers);
    const platforms = (Platforms ?? []).map(({ architecture = '', os = '' }) => ({
      Architecture: architecture,
      OS: os,
    }));
    return {
      ...spec,
      TaskTemplate: {
        ...spec.TaskTemplate,
        ContainerSpec: { ...spec.TaskTemplate?.ContainerSpec, Image: `${withTag(image)}@${Descriptor.digest}` },
        Placement: { ...spec.TaskTemplate?.Placement, ...(platforms.length > 0 && { Platforms: platforms }) },
      },
    };
  } catch (error) {
    shell.err(
      `image ${image} could not be accessed on a registry to record its digest; each node takes what it finds by that name (${explain(error)})\n`,
    );
    return spec;
  }
}
