import { ClusterLife, kinds, type LifeOptions } from './life.ts';

// Makes a failing life smaller: fewer steps by bisection, then one kind of mishap after the other switched off.

async function failsAt(options: LifeOptions): Promise<number | undefined> {
  const life = new ClusterLife(options);
  try {
    await life.run();
    return undefined;
  } catch {
    return life.steps;
  }
}

/** `options` is known to fail. */
export async function shrink(options: LifeOptions): Promise<LifeOptions> {
  let least = options;
  for (const kind of kinds) {
    if (least.without?.includes(kind)) continue;
    const tried = { ...least, without: [...(least.without ?? []), kind] };
    const steps = await failsAt(tried);
    if (steps !== undefined) least = { ...tried, steps };
  }
  // The life after the last step mends everything, so that fewer steps may show it too.
  let low = 0;
  let high = least.steps;
  while (low < high) {
    const steps = (low + high) >> 1;
    if ((await failsAt({ ...least, steps })) === undefined) low = steps + 1;
    else high = steps;
  }
  return { ...least, steps: high };
}
