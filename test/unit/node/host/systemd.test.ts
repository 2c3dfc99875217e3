import { afterEach, describe, expect, test } from 'vitest';
import { restartUnit } from '../../../../src/node/host/systemd.ts';
import { type Script, type ScriptedBus, startBus } from './scriptedBus.ts';

const UNIT = 'containerd.service';
const JOB = '/org/freedesktop/systemd1/job/42';

/** systemd as it answers when all goes well; each test changes one thing. */
function systemd(changes: Partial<Record<string, Script>> = {}): Script {
  const script: Record<string, Script> = {
    AddMatch: () => ({}),
    Subscribe: () => ({}),
    ResetFailedUnit: () => ({ error: 'org.freedesktop.systemd1.NoSuchUnit' }),
    RestartUnit: (_, { signal }) => {
      setTimeout(() => {
        signal('JobRemoved', 'uoss', [
          41,
          '/org/freedesktop/systemd1/job/41',
          'other.service',
          'done',
        ]);
        signal('JobRemoved', 'uoss', [42, JOB, UNIT, 'done']);
      }, 10);
      return { signature: 'o', body: [JOB] };
    },
    GetUnit: () => ({ signature: 'o', body: ['/unit'] }),
    Get: () => ({ signature: 'v', body: [['s', 'active']] }),
    ...changes,
  };
  return (call, bus) => script[call.member ?? '']?.(call, bus);
}

describe('restarting a unit', () => {
  let bus: ScriptedBus;
  afterEach(() => bus.close());

  const restart = (timeoutMs = 5_000, signal = new AbortController().signal): Promise<void> =>
    restartUnit(bus.host, UNIT, timeoutMs, signal);

  test('forgets earlier failures, subscribes, restarts in place of any other job, and waits for the end of its own job', async () => {
    let asked: readonly unknown[] = [];
    const inner = systemd();
    bus = await startBus((call, line) => {
      if (call.member === 'RestartUnit') asked = call.body;
      return inner(call, line);
    });
    await restart();
    expect(asked).toEqual([UNIT, 'replace']);
    expect(bus.calls).toEqual([
      'Hello',
      'ResetFailedUnit',
      'AddMatch',
      'Subscribe',
      'RestartUnit',
      'GetUnit',
      'Get',
    ]);
  });

  test('works with messages that arrive byte by byte', async () => {
    bus = await startBus(systemd(), { splitAt: 1 });
    await restart();
  });

  test('sees a job that ended before its path was told', async () => {
    const RestartUnit: Script = (_, { signal }) => {
      signal('JobRemoved', 'uoss', [42, JOB, UNIT, 'done']);
      return { signature: 'o', body: [JOB] };
    };
    bus = await startBus(systemd({ RestartUnit }));
    await restart();
  });

  test('waits while the unit is still activating', async () => {
    let asked = 0;
    bus = await startBus(
      systemd({
        Get: () => ({ signature: 'v', body: [['s', (asked += 1) < 3 ? 'activating' : 'active']] }),
      }),
    );
    await restart();
    expect(asked).toBe(3);
  });

  const failures: {
    name: string;
    changes: Partial<Record<string, Script>>;
    says: RegExp;
    login?: string;
  }[] = [
    {
      name: 'the job fails',
      changes: {
        RestartUnit: (_, { signal }) => {
          setTimeout(() => {
            signal('JobRemoved', 'uoss', [42, JOB, UNIT, 'failed']);
          }, 5);
          return { signature: 'o', body: [JOB] };
        },
      },
      says: /containerd\.service did not come back: systemd ended its restart with "failed"/,
    },
    {
      name: 'the unit is failed afterwards',
      changes: { Get: () => ({ signature: 'v', body: [['s', 'failed']] }) },
      says: /the unit is failed/,
    },
    {
      name: 'there is no such unit',
      changes: { RestartUnit: () => ({ error: 'org.freedesktop.systemd1.NoSuchUnit' }) },
      says: /NoSuchUnit/,
    },
    {
      name: 'systemd never answers',
      changes: { RestartUnit: () => undefined },
      says: /did not answer within 0\.3 s/,
    },
    {
      name: 'the bus goes away',
      changes: {
        RestartUnit: (_, { drop }) => {
          drop();
          return undefined;
        },
      },
      says: /the bus closed the connection/,
    },
    {
      name: 'the bus refuses the login',
      changes: {},
      login: 'REJECTED EXTERNAL',
      says: /refused the login: REJECTED/,
    },
  ];

  test.for(failures)("fails with the unit's name when $name", async ({ changes, says, login }) => {
    bus = await startBus(systemd(changes), login === undefined ? {} : { login });
    const work = restart(300);
    await expect(work).rejects.toMatchObject({ code: 'KATA_E_ENGINE_RESTART' });
    await expect(work).rejects.toThrow(says);
  });

  test('fails when there is no bus at all', async () => {
    bus = await startBus(systemd());
    const { host } = bus;
    await expect(
      restartUnit(
        { root: host.root, at: (path) => host.at(`/elsewhere${path}`) },
        UNIT,
        300,
        new AbortController().signal,
      ),
    ).rejects.toThrow(/containerd\.service did not come back: .*ENOENT/);
  });

  test("ends at once when it is given up, with the caller's reason", async () => {
    bus = await startBus(systemd({ RestartUnit: () => undefined }));
    const reason = new Error('enough');
    const controller = new AbortController();
    const work = restart(5_000, controller.signal);
    setTimeout(() => {
      controller.abort(reason);
    }, 20);
    await expect(work).rejects.toBe(reason);
  });
});
