import { readFile } from 'node:fs/promises';
import { RuntimeError } from '../types.ts';

// Whom a task's command runs as: `user[:group]`, by name or number, as ContainerSpec.User has it.

export interface User {
  readonly uid?: number;
  readonly gid?: number;
  readonly name: string;
  readonly home: string;
}

export interface Accounts {
  /** The texts of /etc/passwd and /etc/group. */
  readonly passwd: string;
  readonly group: string;
}

export async function readAccounts(): Promise<Accounts> {
  const read = (path: string) => readFile(path, 'utf8').catch(() => '');
  const [passwd, group] = await Promise.all([read('/etc/passwd'), read('/etc/group')]);
  return { passwd, group };
}

/** Without ids when the command runs as the daemon does. Throws a permanent RuntimeError when it must not or cannot. */
export function resolveUser(wanted: string | undefined, accounts: Accounts, own: number, allowRoot: boolean): User {
  const [userPart = '', groupPart] = (wanted ?? '').split(':');
  const self = entries(accounts.passwd).find((fields) => fields[2] === String(own));
  if (userPart === '') {
    if (own === 0 && !allowRoot) throw refuse('ContainerSpec.User is empty: this node runs no processes as root');
    return { name: self?.[0] ?? String(own), home: self?.[5] ?? '/' };
  }
  const entry = entries(accounts.passwd).find(([name, , uid]) => name === userPart || uid === userPart);
  if (!entry && !/^\d+$/.test(userPart)) throw refuse(`there is no user '${userPart}' on this node`);
  const uid = Number(entry?.[2] ?? userPart);
  const gid = groupPart === undefined ? Number(entry?.[3] ?? userPart) : groupId(groupPart, accounts.group);
  if (uid === 0 && !allowRoot) throw refuse('ContainerSpec.User is root: this node runs no processes as root');
  if (own !== 0 && uid !== own) {
    throw refuse(
      `ContainerSpec.User is '${userPart}', but this node's daemon is no root and can run processes only as ${self?.[0] ?? own}`,
    );
  }
  const account = { name: entry?.[0] ?? userPart, home: entry?.[5] ?? '/' };
  return own === 0 ? { ...account, uid, gid } : account;
}

function groupId(wanted: string, group: string): number {
  const entry = entries(group).find(([name, , gid]) => name === wanted || gid === wanted);
  if (!entry && !/^\d+$/.test(wanted)) throw refuse(`there is no group '${wanted}' on this node`);
  return Number(entry?.[2] ?? wanted);
}

const entries = (text: string): string[][] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(':'));

const refuse = (message: string) => new RuntimeError(message, { permanent: true });
