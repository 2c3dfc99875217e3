/**
 * Whether a sandbox is one: its kernel must not be the host's. Pure; the only judge of it, for
 * verification, demonstration and tests alike.
 */

export interface IsolationVerdict {
  readonly isolated: boolean;
  /** In words, with both kernels. */
  readonly explanation: string;
}

/** Both as `uname -r` prints them. A kernel that could not be read is never taken for isolation. */
export function judgeIsolation(hostKernel: string, sandboxKernel: string): IsolationVerdict {
  const host = hostKernel.trim();
  const sandbox = sandboxKernel.trim();
  if (host === '' || sandbox === '') {
    return {
      isolated: false,
      explanation: `a kernel is unknown (host "${host}", sandbox "${sandbox}")`,
    };
  }
  if (host === sandbox) {
    return {
      isolated: false,
      explanation: `the sandbox runs on the host's kernel ${host}: this is not isolation`,
    };
  }
  return { isolated: true, explanation: `the sandbox runs kernel ${sandbox}, the host ${host}` };
}
