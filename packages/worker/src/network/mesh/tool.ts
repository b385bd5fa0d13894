import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterError, type Logger, messageOf } from '@swarmctl/shared/kit';
import type { RunCommand } from '../command.ts';
import type { Step } from './plan.ts';

// Does the steps, as few calls of the tools as their order allows, and sets the kernel's switches of a device.

/** Calls `act` with the name of a file of these lines. */
export async function withLines<T>(lines: readonly string[], act: (file: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'swarmd-mesh-'));
  try {
    const file = join(folder, 'batch');
    await writeFile(file, `${lines.join('\n')}\n`, { mode: 0o600 });
    return await act(file);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Ends at the first that fails, with what the tool said of it. */
export async function doSteps(run: RunCommand, steps: readonly Step[]): Promise<void> {
  for (const { tool, lines } of grouped(steps)) {
    const [program = '', ...options] = tool.split(' ');
    const { code, stderr } = await withLines(lines, (file) => run(program, [...options, '-batch', file]));
    if (code === 0) continue;
    const at = Number(/:(\d+)\s*$/.exec(stderr.trim())?.[1] ?? 0);
    const said = stderr.trim().split('\n')[0] ?? '';
    throw new ClusterError('internal', `'${tool} ${lines[at - 1] ?? '…'}' failed: ${said || `exit code ${code}`}`);
  }
}

export function grouped(steps: readonly Step[]): { tool: Step['tool']; lines: string[] }[] {
  const groups: { tool: Step['tool']; lines: string[] }[] = [];
  for (const { tool, line } of steps) {
    const last = groups.at(-1);
    if (last?.tool === tool) last.lines.push(line);
    else groups.push({ tool, lines: [line] });
  }
  return groups;
}

/**
 * Of the device: clients' addresses come in by it that are routed elsewhere, so the way back is only looked for where the mark leads; and
 * nobody there is a router.
 */
const switches = {
  ipv4: { rp_filter: '2', src_valid_mark: '1', forwarding: '1' },
  ipv6: { accept_ra: '0', disable_ipv6: '0' },
};

export async function setSwitches(device: string, families: readonly (4 | 6)[], log: Logger): Promise<void> {
  for (const family of families) {
    for (const [name, value] of Object.entries(family === 4 ? switches.ipv4 : switches.ipv6)) {
      const path = `/proc/sys/net/ipv${family}/conf/${device}/${name}`;
      await writeFile(path, value).catch((error: unknown) =>
        log.warn({ path, value, error: messageOf(error) }, 'kernel setting of the mesh cannot be changed'),
      );
    }
  }
}
