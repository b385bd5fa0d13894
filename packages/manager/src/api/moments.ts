import { ClusterError } from '@swarmctl/shared/kit';
import { type Moment, momentForms, parseMoment } from '@swarmctl/shared/model';

/** A `since` or `until` of logs and events; undefined when it is not given. `also`: what else the caller takes. Throws `invalid-argument`. */
export function givenMoment(key: string, text: string | undefined, nowMs: number, also?: string): Moment | undefined {
  if (!text) return undefined;
  const moment = parseMoment(text, nowMs, 'utc');
  if (moment !== undefined) return moment;
  const forms = also === undefined ? momentForms : [...momentForms, also];
  const [last] = forms.slice(-1);
  throw new ClusterError(
    'invalid-argument',
    `${key} must be ${forms.slice(0, -1).join(', ')} or ${last}, not '${text}'`,
  );
}
