/**
 * The Lease object of an election: reads it, takes it, renews it, gives it up, always at the version that
 * was read. Owns what another's silence means; knows nothing of what is done with the leadership.
 */
import type { KubeClient } from './client.ts';
import type { Clock } from './clock.ts';
import { isAlreadyExists, isConflict, isNotFound, isRecord } from './errors.ts';
import { microTime } from './microTime.ts';
import { LEASES, type KubeObject } from './resource.ts';

export interface LeaseRecordOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly name: string;
  readonly identity: string;
  readonly leaseDurationMs: number;
  readonly clock: Clock;
}

/** What bounds a step, which may be several requests. None is repeated by the transport: the elector decides that. */
interface Step {
  readonly signal: AbortSignal;
  /** On the monotonic clock. */
  readonly endMs: number;
}

export class LeaseRecord {
  readonly #options: LeaseRecordOptions;
  #lease: KubeObject | undefined;
  /** When, by our own clock, the record was last seen to change. Times written by others are never compared. */
  #changedAtMs = 0;

  constructor(options: LeaseRecordOptions) {
    this.#options = options;
  }

  /** Who held the lease when it was last read; empty for nobody. */
  get holder(): string {
    return textOf(specOf(this.#lease)['holderIdentity']);
  }

  /** Takes the lease if it is free, ours, or its holder was silent for its whole duration. */
  async acquire(step: Step): Promise<boolean> {
    if (!(await this.#read(step))) return this.#create(step);
    const { identity } = this.#options;
    if (this.holder !== '' && this.holder !== identity && !this.#isExpired()) return false;
    const spec = specOf(this.#lease);
    const transitions = numberOf(spec['leaseTransitions']);
    return this.#write(step, {
      ...spec,
      ...this.#claim(),
      acquireTime: this.holder === identity ? spec['acquireTime'] : this.#now(),
      leaseTransitions: this.holder === identity ? transitions : transitions + 1,
    });
  }

  /** False: somebody else has it. Throws when that cannot be known. */
  async renew(step: Step): Promise<boolean> {
    if (await this.#write(step, { ...specOf(this.#lease), ...this.#claim() })) return true;
    // Another edit, or our own write whose answer was lost: look who holds it.
    if (!(await this.#read(step))) return this.#create(step);
    if (this.holder !== this.#options.identity) return false;
    return this.#write(step, { ...specOf(this.#lease), ...this.#claim() });
  }

  /** Lets others take it at once. */
  async release(step: Step): Promise<void> {
    if (await this.#write(step, this.#released())) return;
    // Somebody edited it in between, say an annotation.
    const isOurs = (await this.#read(step)) && this.holder === this.#options.identity;
    if (isOurs) await this.#write(step, this.#released());
  }

  #isExpired(): boolean {
    const seconds = numberOf(specOf(this.#lease)['leaseDurationSeconds']);
    const durationMs = seconds > 0 ? seconds * 1000 : this.#options.leaseDurationMs;
    return this.#options.clock.monotonicMs() - this.#changedAtMs >= durationMs;
  }

  /** False when there is no Lease yet. */
  async #read(step: Step): Promise<boolean> {
    const { client, namespace, name } = this.#options;
    try {
      this.#observe(await client.get(LEASES, { namespace, name }, step.signal, this.#limits(step)));
      return true;
    } catch (thrown) {
      if (!isNotFound(thrown)) throw thrown;
      this.#lease = undefined;
      return false;
    }
  }

  async #create(step: Step): Promise<boolean> {
    const { client, namespace, name } = this.#options;
    const lease = {
      metadata: { namespace, name },
      spec: { ...this.#claim(), acquireTime: this.#now(), leaseTransitions: 0 },
    };
    return this.#unlessContended(async () =>
      client.create(LEASES, lease, step.signal, this.#limits(step)),
    );
  }

  async #write(step: Step, spec: Record<string, unknown>): Promise<boolean> {
    const lease = this.#lease;
    if (lease === undefined) return false;
    return this.#unlessContended(async () =>
      this.#options.client.update(LEASES, { ...lease, spec }, step.signal, this.#limits(step)),
    );
  }

  async #unlessContended(write: () => Promise<KubeObject>): Promise<boolean> {
    try {
      this.#observe(await write());
      return true;
    } catch (thrown) {
      if (isConflict(thrown) || isAlreadyExists(thrown) || isNotFound(thrown)) return false;
      throw thrown;
    }
  }

  #observe(lease: KubeObject): void {
    if (this.#lease?.metadata.resourceVersion !== lease.metadata.resourceVersion) {
      this.#changedAtMs = this.#options.clock.monotonicMs();
    }
    this.#lease = lease;
  }

  #claim(): Record<string, unknown> {
    return {
      holderIdentity: this.#options.identity,
      leaseDurationSeconds: Math.ceil(this.#options.leaseDurationMs / 1000),
      renewTime: this.#now(),
    };
  }

  #limits({ endMs }: Step): { timeoutMs: number; maxRetries: number } {
    return { timeoutMs: Math.max(0, endMs - this.#options.clock.monotonicMs()), maxRetries: 0 };
  }

  #released(): Record<string, unknown> {
    const { holderIdentity: _, ...spec } = specOf(this.#lease);
    return { ...spec, leaseDurationSeconds: 1, renewTime: this.#now() };
  }

  #now(): string {
    return microTime(this.#options.clock.now());
  }
}

function specOf(lease: KubeObject | undefined): Record<string, unknown> {
  const spec = lease?.['spec'];
  return isRecord(spec) ? spec : {};
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function numberOf(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : 0;
}
