import { ApiError } from '../../../src/kube/errors.ts';
import type { Transport, TransportRequest } from '../../../src/kube/transport.ts';
import type { SimulatedProcess, Simulation } from './simulation.ts';

interface StoredLease {
  metadata: { name: string; namespace: string; resourceVersion?: string };
  spec: Record<string, unknown>;
}

/** `cut`: nothing arrives. `hang`: nothing comes back, and nobody says so. `deaf`: carried out, then cut. */
export type Fault = 'cut' | 'hang' | 'deaf';

/** One Lease with optimistic locking, at the other end of a simulated network. */
export class LeaseApi {
  stored: StoredLease | undefined;
  fault: Fault | undefined;
  /** One way. */
  latencyMs = 1;
  requests = 0;
  readonly #simulation: Simulation;
  #version = 0;

  constructor(simulation: Simulation) {
    this.#simulation = simulation;
  }

  get spec(): Record<string, unknown> {
    return this.stored?.spec ?? {};
  }

  /** Somebody writes. */
  put(spec: Record<string, unknown>): void {
    this.#version += 1;
    const metadata = { name: 'leader', namespace: 'kata', resourceVersion: String(this.#version) };
    this.stored = { metadata, spec };
  }

  /** How a process reaches it. A request that was sent arrives, even when its sender has given up. */
  transportFor(process: SimulatedProcess): Transport {
    return {
      request: async (request) => this.#request(process, request),
      stream: () => {
        throw new Error('nothing is watched here');
      },
      close: () => Promise.resolve(),
    };
  }

  #request(process: SimulatedProcess, request: TransportRequest): Promise<unknown> {
    this.requests += 1;
    const { fault, latencyMs } = this;
    return new Promise((resolve, reject) => {
      const fail = (reason: string): void => {
        reject(refusal(request, 0, reason));
      };
      process.setTimer(request.timeoutMs ?? 30_000, () => {
        fail('Timeout');
      });
      this.#simulation.after(latencyMs, () => {
        if (fault === 'hang') return;
        const outcome = fault === 'cut' ? undefined : this.#carryOut(request);
        // An answer is taken by the process itself: one that stands still takes it later.
        this.#simulation.after(
          latencyMs,
          () => {
            if (fault !== undefined) fail('ConnectionReset');
            else if (outcome instanceof ApiError) reject(outcome);
            else resolve(outcome);
          },
          process,
        );
      });
    });
  }

  #carryOut(request: TransportRequest): unknown {
    if (request.method === 'GET') return this.stored ?? refusal(request, 404, 'NotFound');
    const sent = structuredClone(request.body) as StoredLease;
    if (request.method === 'POST' && this.stored !== undefined) {
      return refusal(request, 409, 'AlreadyExists');
    }
    if (request.method === 'PUT') {
      if (this.stored === undefined) return refusal(request, 404, 'NotFound');
      const isStale = sent.metadata.resourceVersion !== this.stored.metadata.resourceVersion;
      if (isStale) return refusal(request, 409, 'Conflict');
    }
    this.put(sent.spec);
    return this.stored;
  }
}

function refusal({ method, path }: TransportRequest, status: number, reason: string): ApiError {
  return new ApiError({ method, path, status, reason, message: '' });
}
