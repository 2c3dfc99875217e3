import { describe, expect, it } from 'vitest';
import { installRevision } from '../../../src/controller/revision/plan.ts';
import { parseKataDeploymentSpec } from '../../../src/crds/parse.ts';
import { nodePlan } from '../../../src/crds/nodePlan.ts';

const source = { url: 'https://example.org/a.tar.zst', sha256: 'a'.repeat(64) };

function planOf(artifacts: object) {
  const { plan } = installRevision('kata', parseKataDeploymentSpec({ artifacts }), 'node:1');
  // As a node reads it.
  return nodePlan.parse(JSON.parse(JSON.stringify(plan))).artifacts;
}

describe('the artifacts of a plan', () => {
  it('carry mirrors in their order, and the proxy with what needs none', () => {
    const mirrors = ['https://b.example.org/a.tar.zst', 'https://c.example.org/a.tar.zst'];
    const proxy = { https: 'http://proxy.example.org:3128', noProxy: '.example.org,10.0.0.1' };
    expect(planOf({ sources: [{ ...source, mirrors }, source], proxy })).toEqual({
      kind: 'sources',
      sources: [{ ...source, mirrors }, source],
      proxy: { url: proxy.https, noProxy: proxy.noProxy },
    });
  });

  it('leave the proxy to the environment of the nodes when the spec names none', () => {
    expect(planOf({ sources: [source] })).toEqual({ kind: 'sources', sources: [source] });
    expect(planOf({ sources: [source], proxy: {} })).toEqual({
      kind: 'sources',
      sources: [source],
    });
  });
});
