// The words and signs of the console: what kinds of dependencies there are, how each looks, and how numbers and times are said.

// Each kind differs from the others by its line and its arrow, not by colour alone.
export const KINDS = [
  { id: 'static', label: 'Declared', tells: 'the fence’s spec names it', line: 'solid', width: 3, arrow: 'square' },
  { id: 'learned', label: 'Learned', tells: 'a call taught it', line: 'solid', width: 1.5, arrow: 'triangle' },
  { id: 'policy', label: 'Policy', tells: 'an AuthorizationPolicy names the caller', line: 'dotted', width: 2.5, arrow: 'diamond' },
  { id: 'derived', label: 'Derived', tells: 'a selector or an alias brings it in', line: 'solid', width: 1.5, arrow: 'vee' },
  { id: 'fallback', label: 'Fallback', tells: 'unknown to the mesh: calls go through the global-sidecar', line: 'dashed', width: 2.5, arrow: 'circle' },
  { id: 'leaving', label: 'Leaving', tells: 'not needed any more, in the Sidecar for a grace time', line: 'dashed', width: 1.5, arrow: 'triangle' },
  { id: 'expired', label: 'Expired', tells: 'out of the Sidecar', line: 'dotted', width: 1.5, arrow: 'tee' },
];

export const kindOf = (arrow) => (arrow.way === 'direct' ? arrow.reason : arrow.way);
export const kindNamed = (id) => KINDS.find((kind) => kind.id === id) ?? { id, label: id, tells: '', line: 'solid', width: 1.5, arrow: 'triangle' };

const STANDINGS = {
  none: 'There is no Sidecar.',
  foreign: 'A Sidecar of this name is there, and it is not the fence’s: it is left alone.',
  settled: 'The Sidecar has its routes, and nothing is under way.',
  switching: 'A switch is under way: clusters are there whose routes come next, or have gone.',
  wide: 'Every cluster is there for a moment: the fence begins, or ends.',
  leaving: 'The Sidecar outlives its fence for a moment.',
};
export const standing = (fence) => (fence.sidecar === 'none' && !fence.enabled ? 'disabled' : fence.sidecar);
export function standingTold(fence) {
  if (standing(fence) === 'disabled') return 'The fence is not enabled: it learns, and has no Sidecar.';
  if (fence.sidecar === 'none' && fence.mode !== 'enforce') return `There is no Sidecar, as the fence’s mode is ${fence.mode}.`;
  return STANDINGS[fence.sidecar] ?? fence.sidecar;
}

const WAYS = {
  stuck: 'The route has been there for half a minute or longer, and calls take the global-sidecar all the same.',
  direct: 'The next call is direct.',
  coming: 'Its route comes.',
  external: 'The mesh does not know the host: it stays on the global-sidecar.',
  fallback: 'Through the global-sidecar.',
};
export const wayOf = (busy) => (busy.stuck ? 'stuck' : busy.way);
export const wayTold = (busy) => WAYS[wayOf(busy)] ?? '';

export const idOf = (fence) => `${fence.namespace}/${fence.name}`;
export const pageOf = (id) => `#/fence/${id.split('/').map(encodeURIComponent).join('/')}`;

export const number = (value) => value.toLocaleString('en');
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

export function memory({ low, high }) {
  const [unit, size] = high >= 10_000 ? ['MB', 1000] : ['kB', 1];
  const round = (value) => number(Math.round(value / size));
  return high === 0 ? '0 kB' : `${round(low)}–${round(high)} ${unit}`;
}

// As kubectl shortens it.
export function age(since, now = Date.now() / 1000) {
  if (!since) return '–';
  const seconds = Math.max(0, Math.round(now - since));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

export const moment = (at) => new Date(at * 1000).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });

// In the largest unit that it is a whole number of.
export function period(seconds) {
  const [unit, name] = [[86_400, 'd'], [3600, 'h'], [60, 'm']].find(([unit]) => seconds % unit === 0) ?? [1, 's'];
  return `${seconds / unit}${name}`;
}
