import type { Clock, Logger } from '@swarmctl/shared/kit';
import type { RunCommand } from '../command.ts';
import { KernelWireGuard } from './kernel.ts';
import { findLink } from './links.ts';
import type { Driver } from './types.ts';
import { UserspaceWireGuard } from './userspace.ts';

// Which WireGuard a machine has: the kernel's with its tool, which is quicker, else the program.

export interface DriverNames {
  readonly device: string;
  readonly owner: string;
  readonly logPath: string;
}

export interface DriverModules {
  readonly run: RunCommand;
  readonly clock: Clock;
  readonly log: Logger;
  readonly ended: () => void;
  readonly command?: readonly string[];
}

/** Undefined: none. What is there already decides, so that a restart does not change it. */
export async function whichDriver(names: DriverNames, modules: DriverModules): Promise<Driver | undefined> {
  const { run, log } = modules;
  const { device, owner } = names;
  const kernel = () => new KernelWireGuard(device, owner, run);
  const userspace = () => new UserspaceWireGuard(names, modules);
  const link = await findLink(run, device).catch(() => undefined);
  if (link?.owner === owner) return link.kind === 'wireguard' ? kernel() : userspace();
  const inKernel = await kernelHasIt(run, device);
  if (inKernel && (await works(run, 'wg', '--version'))) return kernel();
  if (await works(run, 'wireguard-go', '--version')) return userspace();
  if (inKernel) log.warn("the kernel has WireGuard, but the program 'wg' of wireguard-tools is not installed");
  return undefined;
}

async function kernelHasIt(run: RunCommand, device: string): Promise<boolean> {
  const probe = `${device.slice(0, 14)}p`;
  if (!(await works(run, 'ip', 'link', 'add', 'dev', probe, 'type', 'wireguard'))) return false;
  await works(run, 'ip', 'link', 'del', 'dev', probe);
  return true;
}

const works = (run: RunCommand, program: string, ...args: string[]): Promise<boolean> =>
  run(program, args).then(
    ({ code }) => code === 0,
    () => false,
  );
