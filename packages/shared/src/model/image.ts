// Image references: `[host[:port]/]path[:tag][@digest]`, after the distribution project's grammar.

const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const host =
  '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*(?::[0-9]+)?';
const reference = new RegExp(
  `^(?:(?:${host}|\\[[a-fA-F0-9:]+\\](?::[0-9]+)?)/)?${component}(?:/${component})*(?::[\\w][\\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?$`,
);

/** True when `image` can name an image; a bare 64-digit hexadecimal id cannot. */
export const isImageReference = (image: string): boolean =>
  image.length <= 512 && reference.test(image) && !/^[a-f0-9]{64}$/.test(image);
