/**
 * kata-node: the one program that changes a node, in an init container or by hand.
 *
 * Only wiring: the engine driver, standard output, and signals that end a run in good order.
 */
import * as engine from './engine/index.ts';
import { run } from './cli/run.ts';

const stopping = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    stopping.abort();
  });
}

process.exitCode = await run(process.argv.slice(2), {
  engine,
  signal: stopping.signal,
  output: {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
  },
});
