/** Every configuration that Kata 4.1 ships for amd64, as a release holds it. */
import { readFileSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CATALOGUE } from '../../../src/kata/catalogue.ts';
import {
  hypervisorBinaries,
  parseConfiguration,
  qemuDataDirectory,
  referencedFiles,
  renderConfiguration,
} from '../../../src/kata/render.ts';

const DIRECTORY = join(import.meta.dirname, '../../../e2e/standin/configurations/x86_64');
const VERSION = '/opt/kata/versions/0123456789abcdef0123';

const shipped = ['go', 'rs'].flatMap((runtime) =>
  readdirSync(join(DIRECTORY, runtime)).map((file) => ({
    runtime,
    file,
    text: readFileSync(join(DIRECTORY, runtime, file), 'utf8'),
  })),
);

describe('the configurations of a release', () => {
  it('are there for every runtime of the catalogue, in the place that it says', () => {
    const files = shipped.map(
      ({ runtime, file }) => `${runtime === 'go' ? '' : 'runtime-rs/'}${file}`,
    );
    for (const entry of CATALOGUE.filter(({ architectures }) => architectures.includes('amd64'))) {
      expect(files, entry.name).toContain(
        entry.configurationPath.replace('share/defaults/kata-containers/', ''),
      );
    }
  });

  it.each(shipped)(
    '$runtime/$file is rendered with every path in the version and every other byte as it was',
    ({ text }) => {
      const rendered = renderConfiguration(text, { versionDirectory: VERSION });
      expect(rendered.replaceAll(`${VERSION}/`, '/opt/kata/')).toBe(text);
      expect(
        referencedFiles(parseConfiguration(rendered)).every((path) =>
          path.startsWith(`${VERSION}/`),
        ),
      ).toBe(true);
      expect(referencedFiles(parseConfiguration(rendered))).toHaveLength(
        referencedFiles(parseConfiguration(text)).length,
      );
    },
  );

  it.each(shipped.filter(({ file }) => file.includes('qemu') && !file.includes('-se')))(
    '$runtime/$file has a QEMU whose data directory is known',
    ({ text }) => {
      const [binary = ''] = hypervisorBinaries(parseConfiguration(text));
      expect(qemuDataDirectory(binary.replace('/opt/kata/', ''))).toMatch(
        /^share\/kata-qemu[a-z-]*\/qemu$/,
      );
    },
  );

  it.each(
    CATALOGUE.filter(
      ({ hypervisorPath, architectures }) =>
        hypervisorPath !== undefined && architectures.includes('amd64'),
    ),
  )(
    '$name starts the hypervisor that the catalogue names',
    ({ configurationPath, hypervisorPath }) => {
      const found = shipped.find(({ file }) => file === basename(configurationPath));
      expect(hypervisorBinaries(parseConfiguration(found?.text ?? ''))).toEqual([
        `/opt/kata/${hypervisorPath ?? ''}`,
      ]);
    },
  );
});
