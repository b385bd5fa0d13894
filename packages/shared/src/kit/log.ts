import { type LoggerOptions, type Logger as PinoLogger, pino } from 'pino';

// Structured logs: pino, one line a state transition, fields before prose. Deciders never log.

/** `fields` first, then a short message: `log.info({ task: id, state }, 'task state')`. */
export type Logger = Pick<PinoLogger, 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'level'> & {
  child(fields: Record<string, unknown>): Logger;
};

/** What must never be written: keys, tokens, secrets. */
const redact = ['JoinToken', 'joinToken', '*.JoinToken', '*.joinToken', 'key', '*.CAKey', 'CAKey', '*.UnlockKey'];

export function createLogger(options: LoggerOptions = {}, destination?: Parameters<typeof pino>[1]): Logger {
  const settings: LoggerOptions = {
    level: 'info',
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    redact,
    ...options,
  };
  return destination ? pino(settings, destination) : pino(settings);
}

export const silentLogger: Logger = pino({ level: 'silent' });
