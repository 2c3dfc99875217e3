import { expect, it } from 'vitest';
import { Metrics, resourceOfPath } from '../../../src/controller/metrics.ts';

async function nodes(metrics: Metrics): Promise<Record<string, number>> {
  const { values } = await metrics.nodes.get();
  return Object.fromEntries(values.map(({ labels, value }) => [String(labels.phase), value]));
}

it('shows a phase that no node is in, or is in any more, as zero', async () => {
  const metrics = new Metrics();
  expect(await nodes(metrics)).toMatchObject({ Ready: 0, Failed: 0 });
  metrics.showNodes(['Ready', 'Failed', 'Ready']);
  expect(await nodes(metrics)).toMatchObject({ Ready: 2, Failed: 1, Waiting: 0 });
  metrics.showNodes(['Ready']);
  expect(await nodes(metrics)).toMatchObject({ Ready: 1, Failed: 0, Waiting: 0 });
});

it.each([
  ['/api/v1/nodes/worker-1', 'nodes'],
  ['/api/v1/namespaces/kata/pods/p', 'pods'],
  ['/apis/apps/v1/namespaces/kata/daemonsets', 'daemonsets'],
  ['/apis/kata-operator.dev/v1alpha1/katanodes/worker-1/status', 'katanodes'],
])('counts requests to %s as of %s, without any name', (path, resource) => {
  expect(resourceOfPath(path)).toBe(resource);
});
