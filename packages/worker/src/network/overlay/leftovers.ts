import type { RunCommand } from '../command.ts';
import { execute, type Kernel } from './kernel.ts';
import type { OverlayEngine } from './types.ts';

// What an earlier daemon of this node left, or networks whose removal was missed.

export interface LeftoverModules {
  readonly engine: Pick<OverlayEngine, 'list' | 'remove'>;
  readonly run: RunCommand;
  /** A network that is to be here, by its bridge. */
  readonly isKnown: (bridge: string) => boolean;
}

/** Removes what `owner` has in the kernel and at the engine. False: containers keep some of it. */
export async function removeLeftovers(
  kernel: Pick<Kernel, 'devicesOf'>,
  owner: string,
  { engine, run, isKnown }: LeftoverModules,
): Promise<boolean> {
  const busy = new Set<string>();
  for (const { bridge } of await engine.list()) {
    if (isKnown(bridge)) continue;
    if (!(await engine.remove(bridge))) busy.add(bridge);
  }
  for (const device of kernel.devicesOf(owner)) {
    const bridge = device.replace(/^swx/, 'swb');
    if (isKnown(bridge) || busy.has(bridge)) continue;
    await execute(run, { ip: [`link del dev ${device}`], bridge: [] });
  }
  return busy.size === 0;
}
