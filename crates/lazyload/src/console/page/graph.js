// What of the mesh is shown: from the fences that are known to nodes and edges, under what its reader chose. The drawing and its table show the same.

import { isSmall } from './layout.js';
import { idOf, kindOf } from './words.js';

export function namespaceOf(id) {
  const at = id.indexOf('/');
  return at < 0 ? '' : id.slice(0, at);
}

// All namespaces that fences are in, or depend on.
export function namespacesOf(fences) {
  const found = new Set();
  for (const [id, fence] of fences) {
    found.add(namespaceOf(id));
    fence.arrows.forEach((arrow) => found.add(namespaceOf(arrow.to)));
  }
  found.delete('');
  return [...found].sort();
}

// `choice` has `search` in lower case, `namespace` (empty for all) and `kinds`, a set.
export function graphOf(fences, choice) {
  const nodes = new Map();
  const edges = [];
  const isIn = (id) => !choice.namespace || namespaceOf(id) === choice.namespace;
  const isMeant = (id) => id.toLowerCase().includes(choice.search);
  const add = (id) => nodes.has(id) || nodes.set(id, nodeOf(id, fences.get(id)));
  for (const [from, fence] of fences) {
    // A fence that depends on nothing yet is there too.
    if (isIn(from) && isMeant(from)) add(from);
    fence.arrows.forEach((arrow, at) => {
      const kind = kindOf(arrow);
      const isShown = choice.kinds.has(kind) && (isIn(from) || isIn(arrow.to)) && (isMeant(from) || isMeant(arrow.to));
      if (!isShown) return;
      add(from);
      add(arrow.to);
      edges.push({ id: `${from} ${arrow.to} ${at}`, key: `${from} ${arrow.to}`, from, to: arrow.to, kind, evidence: arrow.evidence });
    });
  }
  const sorted = [...nodes.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  const graph = { nodes: sorted, edges };
  // A map says the namespace beside; elsewhere the name does, where there are several.
  const isSeveral = new Set(sorted.map((node) => node.namespace).filter(Boolean)).size > 1;
  if (isSmall(graph) && isSeveral) sorted.forEach((node) => (node.label = node.id));
  return graph;
}

function nodeOf(id, fence) {
  const namespace = namespaceOf(id);
  const name = namespace ? id.slice(namespace.length + 1) : id;
  const type = fence ? 'fence' : name === '*' ? 'namespace' : namespace ? 'service' : 'host';
  return { id, namespace, name, label: name === '*' ? `all of ${namespace}` : name, type, isUnready: fence?.ready?.status === 'False' };
}

// Who depends on it.
export function callersOf(fences, id) {
  return [...fences.values()].filter((fence) => fence.arrows.some((arrow) => arrow.to === id)).map(idOf);
}
