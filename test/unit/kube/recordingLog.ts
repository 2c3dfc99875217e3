import type { Logger } from '../../../src/kube/log.ts';

export interface RecordingLog extends Logger {
  readonly lines: { level: string; message: string; fields: object }[];
}

/** A logger that keeps what it is given. */
export function recordingLog(): RecordingLog {
  const lines: RecordingLog['lines'] = [];
  const at =
    (level: string) =>
    (fields: object, message: string): void => {
      lines.push({ level, message, fields });
    };
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
