import fc from 'fast-check';
import { parse } from 'smol-toml';
import { describe, expect, it } from 'vitest';
import {
  ConfigurationError,
  hypervisorBinaries,
  parseConfiguration,
  qemuDataDirectory,
  qemuWrapper,
  referencedFiles,
  renderConfiguration,
} from '../../../src/kata/render.ts';

const VERSION = '/opt/kata/versions/0123456789abcdef0123';
const render = (text: string, replacements?: ReadonlyMap<string, string>): string =>
  renderConfiguration(text, {
    versionDirectory: VERSION,
    ...(replacements === undefined ? {} : { replacements }),
  });

describe('a rendered configuration', () => {
  it.each([
    ['a plain value', 'path = "/opt/kata/bin/x"', `path = "${VERSION}/bin/x"`],
    ['a literal string', "path = '/opt/kata/bin/x'", `path = '${VERSION}/bin/x'`],
    [
      'a list',
      'p = ["/opt/kata/a", "/usr/b", \'/opt/kata/c\']',
      `p = ["${VERSION}/a", "/usr/b", '${VERSION}/c']`,
    ],
    [
      'a list over several lines',
      'p = [\n "/opt/kata/a", # "/opt/kata/no"\n "/opt/kata/b",\n]',
      `p = [\n "${VERSION}/a", # "/opt/kata/no"\n "${VERSION}/b",\n]`,
    ],
    ['a pattern', 'p = ["/opt/kata/bin/*"]', `p = ["${VERSION}/bin/*"]`],
    [
      'an inline table',
      'p = { image = "/opt/kata/i", x = [ "/opt/kata/j" ] }',
      `p = { image = "${VERSION}/i", x = [ "${VERSION}/j" ] }`,
    ],
    ['the directory itself', 'p = "/opt/kata"', `p = "${VERSION}"`],
    [
      'a hash within the value',
      'p = "/opt/kata/a#b" # "/opt/kata/no"',
      `p = "${VERSION}/a#b" # "/opt/kata/no"`,
    ],
  ])('points into the version: %s', (_, shipped, wanted) => {
    expect(render(shipped)).toBe(wanted);
  });

  it.each([
    ['a comment', '# path = "/opt/kata/bin/x"'],
    ['a comment with one quote', '# don\'t touch "/opt/kata\na = 1'],
    ['a path of another prefix', 'p = "/opt/kata-containers/x"\nq = "/opt/katana"'],
    ['a path within a longer text', 'kernel_params = "init=/opt/kata/init"'],
    ['a multi-line text', 'p = """\npath = "/opt/kata/x"\n"""'],
    ['a table header', '["/opt/kata/x"]\na = 1'],
    ['an escaped quote', 'p = "say \\"/opt/kata/x\\""'],
    ['line ends of Windows, tabs and trailing blanks', 'a\t=\t1  \r\n# x\r\nb = "y" \r\n'],
  ])('leaves every byte of %s', (_, shipped) => {
    expect(render(shipped)).toBe(shipped);
  });

  it('refuses a path that it could only rewrite by guessing', () => {
    expect(() => render('[hypervisor.qemu]\npath = "/opt/kata/b\\u0069n/x"')).toThrow(
      new ConfigurationError(
        'the path at hypervisor.qemu.path is written in a way that cannot be rewritten',
      ),
    );
    expect(() => render('p = """/opt/kata/x"""')).toThrow(ConfigurationError);
    expect(() => render('p = {"/opt/kata/k" = 1}')).toThrow(ConfigurationError);
  });

  it('refuses what does not parse', () => {
    for (const broken of ['path = ', '[a]\n[a]\n', 'a = 1\na = 2', '\u0000'])
      expect(() => render(broken)).toThrow(ConfigurationError);
  });

  it('prefers the replacement of a whole value to the prefix', () => {
    const replacements = new Map([
      ['/opt/kata/bin/qemu', '/opt/kata/revisions/r/kata-qemu/bin/qemu'],
    ]);
    expect(
      render(
        'path = "/opt/kata/bin/qemu"\nv = ["/opt/kata/bin/qemu", "/opt/kata/bin/qemu2"]',
        replacements,
      ),
    ).toBe(
      `path = "/opt/kata/revisions/r/kata-qemu/bin/qemu"\nv = ["/opt/kata/revisions/r/kata-qemu/bin/qemu", "${VERSION}/bin/qemu2"]`,
    );
  });

  it('differs from the shipped one in paths of the release alone, whatever else is in it', () => {
    const key = fc.stringMatching(/^[a-z][a-z_0-9]{0,8}$/);
    const path = fc.stringMatching(/^[a-z0-9._/-]{0,12}$/);
    const string = fc.oneof(
      path.map((rest) => `"/opt/kata/${rest}"`),
      path.map((rest) => `'/opt/kata/${rest}'`),
      fc.stringMatching(/^[ -!#-[\]-~]{0,12}$/).map((text) => `"${text}"`),
    );
    const value = fc.oneof(
      string,
      fc.constantFrom('1', '0.5', 'true', '2024-01-01', '0x1F'),
      fc.array(string, { maxLength: 3 }).map((values) => `[${values.join(', ')}]`),
    );
    const comment = fc
      .stringMatching(/^[ -~]{0,20}$/)
      .map((text) => (text === '' ? '' : ` # ${text}`));
    const line = fc.tuple(key, value, comment);
    fc.assert(
      fc.property(fc.uniqueArray(line, { selector: ([name]) => name, maxLength: 8 }), (lines) => {
        const shipped = lines.map(([name, text, note]) => `${name} = ${text}${note}\n`).join('');
        const rendered = render(shipped);
        const back = rendered
          .replaceAll(`"${VERSION}/`, '"/opt/kata/')
          .replaceAll(`'${VERSION}/`, "'/opt/kata/");
        expect(back).toBe(shipped);
        expect(Object.keys(parse(rendered))).toEqual(Object.keys(parse(shipped)));
        expect(JSON.stringify(Object.values(parse(rendered)))).not.toMatch(
          /"\/opt\/kata\/(?!versions\/)/,
        );
      }),
    );
  });
});

describe('what a configuration refers to', () => {
  const configuration = parseConfiguration(`
[hypervisor.qemu]
path = "/opt/kata/bin/qemu-system-x86_64"
kernel = "/opt/kata/share/k"
image = ""
firmware_volume = "@FIRMWAREVOLUMEPATH@"
valid_hypervisor_paths = ["/opt/kata/bin/maybe"]
entropy_source = "/dev/urandom"
[[hypervisor.qemu.guest_extension_images]]
path = "/opt/kata/share/coco.img"
[runtime]
`);

  it('are the single paths of the release, not the lists of what is allowed', () => {
    expect(referencedFiles(configuration)).toEqual([
      '/opt/kata/bin/qemu-system-x86_64',
      '/opt/kata/share/coco.img',
      '/opt/kata/share/k',
    ]);
  });

  it('names the hypervisor, if it has a binary', () => {
    expect(hypervisorBinaries(configuration)).toEqual(['/opt/kata/bin/qemu-system-x86_64']);
    expect(hypervisorBinaries(parseConfiguration('[hypervisor.remote]\n[runtime]\n'))).toEqual([]);
    expect(hypervisorBinaries(parseConfiguration('a = 1'))).toEqual([]);
  });
});

describe('the data directory of QEMU', () => {
  it.each([
    ['bin/qemu-system-x86_64', 'share/kata-qemu/qemu'],
    ['bin/qemu-system-x86_64-snp-experimental', 'share/kata-qemu-snp-experimental/qemu'],
    ['bin/qemu-system-aarch64-no-shared-fs', 'share/kata-qemu-no-shared-fs/qemu'],
    ['bin/qemu-system-ppc64', 'share/kata-qemu/qemu'],
    ['bin/firecracker', undefined],
    ['bin/qemu-img', undefined],
    ['libexec/qemu-system-x86_64', undefined],
  ])('of %s is %s', (binary, wanted) => {
    expect(qemuDataDirectory(binary)).toBe(wanted);
  });

  it('is given by a script that passes every argument on', () => {
    expect(qemuWrapper('/v/bin/qemu', '/v/share/qemu')).toBe(
      '#!/bin/sh\n# Written by kata-operator.\nexec /v/bin/qemu -L /v/share/qemu "$@"\n',
    );
  });
});
