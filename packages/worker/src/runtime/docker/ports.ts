import type { PortConfig, Task } from '@swarmctl/shared/model';

// A container carries its task's ports as a label, so that a restarted daemon knows them without asking a manager.

export const portsLabel = 'swarmctl.task.ports';

export const encodePorts = (task: Task): string => JSON.stringify(task.Ports ?? []);

export function decodePorts(label: string | undefined): PortConfig[] {
  try {
    return JSON.parse(label ?? '[]') as PortConfig[];
  } catch {
    return [];
  }
}

/** `8080/tcp`. */
export const portKey = (port: PortConfig): string => `${port.TargetPort}/${port.Protocol || 'tcp'}`;
