import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isAlive, type ProcessId, processId } from './processes.ts';

// What a lab makes on this machine, written down before any of it is made: one folder, with lab.json in it, names everything that `down` must
// remove. Whatever else there is lives inside the namespaces and goes with them.

export interface LabState {
  readonly name: string;
  readonly nodes: number;
  readonly managers: number;
  /** More flags for each swarmd. */
  readonly flags: readonly string[];
  /** Under /run/netns. */
  readonly namespaces: readonly string[];
  /** Below the roots of the cgroup hierarchies. */
  readonly cgroups: readonly string[];
  /** Who is bringing it up; undefined once it is up. */
  readonly maker?: ProcessId;
}

export interface LabOptions {
  /** Labs with different names run side by side. Default: lab. */
  readonly name?: string;
  readonly nodes?: number;
  /** The first so many hosts. Default: three, or all of fewer. */
  readonly managers?: number;
  readonly flags?: readonly string[];
}

export const defaultName = 'lab';
const prefix = 'swlab';

export function planOf(options: LabOptions): LabState {
  const { name = defaultName, nodes = 3, managers = Math.min(nodes, 3), flags = [] } = options;
  checkName(name);
  if (!Number.isInteger(nodes) || nodes < 1 || nodes > 200) throw new Error('--nodes should be 1 to 200');
  if (!Number.isInteger(managers) || managers < 1 || managers > nodes)
    throw new Error(`--managers should be 1 to ${nodes}, the number of nodes`);
  const numbers = Array.from({ length: nodes }, (_, i) => i + 1);
  return {
    name,
    nodes,
    managers,
    flags,
    namespaces: [
      bridgeNamespace(name),
      namespaceOf(name, 'client'),
      ...numbers.map((n) => namespaceOf(name, nodeName(n))),
    ],
    cgroups: numbers.map((n) => cgroupOf(name, nodeName(n))),
    maker: processId(process.pid),
  };
}

export const nodeName = (number: number) => `node${number}`;
export const folderOf = (lab: string) => join(tmpdir(), `swarm-lab-${checkName(lab)}`);
export const namespaceOf = (lab: string, machine: string) => `${prefix}-${lab}-${machine}`;
export const bridgeNamespace = (lab: string) => `${prefix}-${lab}-bridge`;
export const cgroupOf = (lab: string, machine: string) => `${prefix}-${lab}-${machine}`;

/** In the environment of every process of a lab. */
export const markOf = (lab: string) => ({ SWARM_LAB: folderOf(lab) });

/** The lab's name is taken by making its folder. */
export function createState(state: LabState): void {
  const folder = folderOf(state.name);
  const taken = state.namespaces.find((name) => existsSync(`/run/netns/${name}`));
  if (taken && !existsSync(folder))
    throw new Error(`there is a network namespace ${taken} already, of no lab that is known`);
  try {
    mkdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw new Error(`there is a lab '${state.name}' already: \`lab down${nameFlag(state.name)}\` removes it`);
  }
  writeState(state);
}

export function writeState(state: LabState): void {
  const path = fileOf(state.name);
  writeFileSync(`${path}.new`, JSON.stringify(state, null, 2));
  renameSync(`${path}.new`, path);
}

/** Undefined when there is no such lab, or nothing of it was made yet. */
export function findState(lab: string): LabState | undefined {
  try {
    return JSON.parse(readFileSync(fileOf(lab), 'utf8')) as LabState;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** That of a lab which is up. */
export function readState(lab: string): LabState {
  const state = findState(lab);
  if (!state) throw new Error(`there is no lab '${lab}': \`lab up${nameFlag(lab)}\` makes it`);
  if (state.maker)
    throw new Error(
      isAlive(state.maker)
        ? `lab '${lab}' is still coming up (pid ${state.maker.pid})`
        : `lab '${lab}' did not come up: \`lab down${nameFlag(lab)}\` removes what there is of it`,
    );
  return state;
}

const fileOf = (lab: string) => join(folderOf(lab), 'lab.json');
const nameFlag = (lab: string) => (lab === defaultName ? '' : ` --name ${lab}`);

function checkName(lab: string): string {
  if (!/^[a-z][a-z0-9-]{0,19}$/.test(lab))
    throw new Error(`'${lab}' cannot name a lab: up to 20 of a-z, 0-9 and -, a letter first`);
  return lab;
}
