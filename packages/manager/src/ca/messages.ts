import { ClusterError } from '@swarmctl/shared/kit';
import type { JoinMessage } from '@swarmctl/shared/wire';

// What comes from whoever reached the port is checked before it is looked at.

/** Throws `invalid-argument`; says nothing of the values, one of which is a secret. */
export function checkJoinMessage(message: unknown): JoinMessage {
  if (typeof message !== 'object' || message === null) throw malformed('message');
  const fields = message as Record<string, unknown>;
  switch (fields['type']) {
    case 'join':
      text(fields, 'token', 200);
      text(fields, 'csr', 8_192);
      text(fields, 'hostname', 255);
      text(fields, 'addr', 255);
      if (!['active', 'pause', 'drain'].includes(String(fields['availability']))) throw malformed('availability');
      break;
    case 'raft-join':
      text(fields, 'addr', 255);
      break;
    case 'renew':
      text(fields, 'csr', 8_192);
      break;
    case 'leave':
      if (typeof fields['force'] !== 'boolean') throw malformed('force');
      break;
    default:
      throw malformed('type');
  }
  return message as JoinMessage;
}

function text(fields: Record<string, unknown>, name: string, maxLength: number): void {
  const value = fields[name];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
  const controls = name === 'csr' ? /\0/ : /[\u0000-\u001f\u007f]/;
  if (typeof value !== 'string' || value.length > maxLength || controls.test(value)) throw malformed(name);
}

const malformed = (field: string) =>
  new ClusterError('invalid-argument', `the request to join is malformed: ${field} is missing or not right`);
