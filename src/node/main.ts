/**
 * kata-node: the one program that changes a node, in an init container or by hand.
 *
 * Only wiring: the engine driver, standard output, and signals that end a run in good order.
 */
// First: it settles how all that comes after it is run.
import './startup.ts';
import * as engine from './engine/index.ts';
import { toKataError } from '../errors.ts';
import { run } from './cli/run.ts';
import { lockFiles, probeKvm } from './host/helper.ts';

// What is installed must be readable by every process of the host, whoever runs this by hand.
process.umask(0o022);

const stopping = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    stopping.abort();
  });
}
// A defect must not leave the host half changed: the run is stopped, and takes back what it began.
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (thrown: unknown) => {
    stopping.abort(toKataError(thrown));
  });
}

// Output goes through the engine that is being restarted: losing a line must not end the run.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);

process.exitCode = await run(process.argv.slice(2), {
  engine,
  probeKvm,
  lockFiles,
  signal: stopping.signal,
  output: {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
  },
});
