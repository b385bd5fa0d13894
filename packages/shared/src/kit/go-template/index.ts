export { type FillOptions, fill } from './execute.ts';
export { type GoFunction, ofText } from './functions.ts';
export { TemplateError } from './lex.ts';
export { byteText, plainText, Struct, type Value } from './values.ts';
