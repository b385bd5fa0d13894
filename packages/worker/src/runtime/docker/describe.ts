import { arch, cpus, totalmem } from 'node:os';
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
    Resources: offer(info.NCPU * 1e9, info.MemTotal, reserved),
    Engine: {
      EngineVersion: info.ServerVersion,
      ...(labels.length > 0 && { Labels: Object.fromEntries(labels) }),
      Plugins: plugins.sort((a, b) => (`${a.Type} ${a.Name}` < `${b.Type} ${b.Name}` ? -1 : 1)),
    },
  };
}

/** While the engine has never answered. */
export const describeMachine = (reserved: Reserved): Description => ({
  Platform: { Architecture: machine() || arch(), OS: process.platform },
  Resources: offer(cpus().length * 1e9, totalmem(), reserved),
  Engine: {},
});
