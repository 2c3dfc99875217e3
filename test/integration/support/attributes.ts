/** Extended attributes of files, by Python: Node cannot read them. */
import { execFileSync } from 'node:child_process';

const PYTHON = `
import json, os, sys
path, wanted = sys.argv[1], json.loads(sys.argv[2])
for name, value in wanted.items(): os.setxattr(path, name, value.encode('latin1'))
print(json.dumps({name: os.getxattr(path, name).decode('latin1') for name in os.listxattr(path)}))
`;

/** Sets attributes, and tells all that are there. */
export function attributes(
  path: string,
  wanted: Record<string, string> = {},
): Record<string, string> {
  const answer = execFileSync('python3', ['-c', PYTHON, path, JSON.stringify(wanted)], {
    timeout: 10_000,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return JSON.parse(answer.toString()) as Record<string, string>;
}
