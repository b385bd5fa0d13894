// Image references: `[host[:port]/]path[:tag][@digest]`, after the distribution project's grammar.

const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const host =
  '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*(?::[0-9]+)?';
const reference = new RegExp(
  `^(?:(?:${host}|\\[[a-fA-F0-9:]+\\](?::[0-9]+)?)/)?${component}(?:/${component})*(?::[\\w][\\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?$`,
);

/** True when `image` can name an image; a bare 64-digit hexadecimal id cannot. */
export const isImageReference = (image: string): boolean =>
  image.length <= 512 && reference.test(image) && !/^[a-f0-9]{64}$/.test(image) && nameIn(image).length <= longestName;

/** Without tag and digest. */
const nameIn = (image: string): string => image.replace(/@.*$/, '').replace(/:[^/:]*$/, '');
const longestName = 255;

export interface ImageName {
  /** `host[:port]`; `docker.io` where the image names none. */
  readonly registry: string;
  /** Within the registry: `library/nginx`. */
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: string;
}

/** The parts of an image reference, as Docker reads them; undefined when it is none. */
export function parseImage(image: string): ImageName | undefined {
  if (!isImageReference(image)) return undefined;
  const [named = '', digest] = image.split('@');
  const colon = named.indexOf(':', named.lastIndexOf('/') + 1);
  const tag = colon < 0 ? undefined : named.slice(colon + 1);
  const path = colon < 0 ? named : named.slice(0, colon);
  const slash = path.indexOf('/');
  const first = path.slice(0, Math.max(slash, 0));
  const isHost = first === 'localhost' || /[.:A-Z]/.test(first);
  const registry = isHost && first !== 'index.docker.io' ? first : hub;
  const rest = isHost ? path.slice(slash + 1) : path;
  return {
    registry,
    repository: registry === hub && !rest.includes('/') ? `library/${rest}` : rest,
    ...(tag !== undefined && { tag }),
    ...(digest !== undefined && { digest }),
  };
}

const hub = 'docker.io';

/** With `:latest` where it has neither tag nor digest, as Docker reads it. */
export function withTag(image: string): string {
  const name = image.slice(image.lastIndexOf('/') + 1);
  return image.includes('@') || name.includes(':') ? image : `${image}:latest`;
}
