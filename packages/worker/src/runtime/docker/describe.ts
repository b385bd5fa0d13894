import { arch, cpus, totalmem } from 'node:os';
import type { GenericResource } from '@swarmctl/shared/model';
import { offer, type Reserved } from '../offer.ts';
import { machine } from '../template.ts';
import type { Runtime } from '../types.ts';

// What the engine says of its machine, as a node's description. Pure but for the fallback.

type Description = Awaited<ReturnType<Runtime['describe']>>['description'];

/** The part of the engine's `/info` that counts here. */
export interface EngineInfo {
  readonly NCPU: number;
  readonly MemTotal: number;
  readonly Architecture: string;
  readonly OSType: string;
  readonly ServerVersion: string;
  readonly Labels?: readonly string[] | null;
  /** `name=userns`, `name=rootless`, ... */
  readonly SecurityOptions?: readonly string[] | null;
  /** Of the engine's `node-generic-resources`. */
  readonly GenericResources?: readonly GenericResource[] | null;
  readonly Plugins?: Readonly<Record<string, readonly string[] | null>>;
}

export function describeEngine(info: EngineInfo, reserved: Reserved): Description {
  const plugins = Object.entries(info.Plugins ?? {}).flatMap(([Type, names]) =>
    (names ?? []).map((Name) => ({ Type, Name })),
  );
  const labels = (info.Labels ?? []).map((label): [string, string] => {
    const [key = '', ...value] = label.split('=');
    return [key, value.join('=')];
  });
  return {
    Platform: { Architecture: info.Architecture, OS: info.OSType },
    Resources: {
      ...offer(info.NCPU * 1e9, info.MemTotal, reserved),
      ...(info.GenericResources?.length && { GenericResources: [...info.GenericResources] }),
    },
    Engine: {
      EngineVersion: info.ServerVersion,
      ...(labels.length > 0 && { Labels: Object.fromEntries(labels) }),
      Plugins: plugins.sort((a, b) => (`${a.Type} ${a.Name}` < `${b.Type} ${b.Name}` ? -1 : 1)),
    },
  };
}

/** Why this engine's containers cannot be given files that root alone may enter; undefined when they can. */
export function fileTrouble(info: EngineInfo | undefined): string | undefined {
  const has = (name: string) => info?.SecurityOptions?.some((option) => option.split(',').includes(`name=${name}`));
  if (has('rootless')) return 'its engine is rootless, and does not see what swarmd mounts';
  return has('userns') ? 'its engine gives containers users of their own (userns-remap)' : undefined;
}

/** While the engine has never answered. */
export const describeMachine = (reserved: Reserved): Description => ({
  Platform: { Architecture: machine() || arch(), OS: process.platform },
  Resources: offer(cpus().length * 1e9, totalmem(), reserved),
  Engine: {},
});
