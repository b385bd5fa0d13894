// What a command that was refused prints.

export class StepError extends Error {}
