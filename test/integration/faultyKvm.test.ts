/**
 * A KVM that is there and does not work: switched off in the firmware, forbidden, held by another hypervisor, of another
 * interface. Its device is /dev/null, whose system calls are answered as such a KVM would answer them.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileHelper } from '../../build/helper.ts';
import { canTrace, succeed, run } from './support/run.ts';

describe.skipIf(!(await canTrace()))('kata-helper kvm (this needs strace)', () => {
  let directory = '';
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'ko-kvm-'));
    await compileHelper(join(directory, 'kata-helper'));
  });
  afterAll(() => rm(directory, { recursive: true }));

  async function kvmThat(inject: string): Promise<unknown> {
    const trace = ['-qq', '-o', '/dev/null', '-P', '/dev/null', '-e', `inject=${inject}`];
    const helper = [join(directory, 'kata-helper'), 'kvm', '/dev/null'];
    return JSON.parse(await succeed(run('strace', [...trace, ...helper])));
  }

  test.for([
    {
      name: 'may not be opened',
      inject: 'open,openat:error=EACCES',
      cause: 'open /dev/null: Permission denied',
    },
    {
      name: 'answers no question',
      inject: 'ioctl:error=EPERM',
      cause: 'KVM_GET_API_VERSION on /dev/null: Operation not permitted',
    },
    {
      name: 'has another interface',
      inject: 'ioctl:retval=11',
      cause: expect.stringContaining('KVM_GET_API_VERSION on /dev/null: ') as string,
    },
    {
      name: 'makes no virtual machine',
      inject: 'ioctl:retval=12:when=1',
      cause: expect.stringContaining('KVM_CREATE_VM on /dev/null: ') as string,
    },
  ])('says why when the device $name', async ({ inject, cause }) => {
    expect(await kvmThat(inject)).toEqual({ usable: false, cause });
  });

  test('is satisfied when the device answers as KVM does', async () => {
    expect(await kvmThat('ioctl:retval=12')).toMatchObject({ usable: true });
  });
});
