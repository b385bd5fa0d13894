import {
  type Constraint,
  canonicalArch,
  type Node,
  nodeMeets,
  type Platform,
  parseConstraints,
  runtimeOf,
  type Service,
  type TaskSpec,
} from '@swarmctl/shared/model';

// Whether a node may hold a service's tasks at all: constraints, platform and runtime. Room, ports and readiness are the scheduler's.

/** The node belongs to the global service: it has, or shall have, a copy. */
export const suitsGlobal = (service: Service, node: Node): boolean =>
  node.Spec.Availability !== 'drain' &&
  meetsConstraints(service.Spec.TaskTemplate, node) &&
  (node.Description === undefined ||
    (meetsPlatforms(service.Spec.TaskTemplate, node.Description.Platform) &&
      node.Description.Runtimes.includes(runtimeOf(service.Spec.Labels))));

/** New tasks may be put there now. */
export const takesTasks = (node: Node): boolean =>
  node.Spec.Availability === 'active' && node.Status.State === 'ready' && node.Description !== undefined;

export function meetsConstraints(spec: TaskSpec, node: Node): boolean {
  if (!spec.Placement?.Constraints?.length) return true;
  const constraints = constraintsOf(spec.Placement.Constraints);
  return constraints !== undefined && nodeMeets(node, constraints);
}

const parsed = new WeakMap<readonly string[], readonly Constraint[]>();

/** The API lets no malformed constraint in; one that is there all the same is met by no node. */
function constraintsOf(texts: readonly string[]): readonly Constraint[] | undefined {
  const known = parsed.get(texts);
  if (known) return known;
  try {
    const constraints = parseConstraints(texts);
    parsed.set(texts, constraints);
    return constraints;
  } catch {
    return undefined;
  }
}

function meetsPlatforms(spec: TaskSpec, platform: Platform): boolean {
  const wanted = spec.Placement?.Platforms ?? [];
  return (
    wanted.length === 0 ||
    wanted.some(
      (one) =>
        (!one.OS || one.OS.toLowerCase() === platform.OS?.toLowerCase()) &&
        (!one.Architecture || canonicalArch(one.Architecture) === canonicalArch(platform.Architecture ?? '')),
    )
  );
}
