// All fences, as `lazyload status` tells them.

import { html, useState } from './vendor/preact.js';
import { Chip, Empty, Failure, Loading, Name, Ready, Table } from './parts.js';
import { useStore } from './store.js';
import { NoFences } from './mesh.js';
import { age, idOf, number, plural, standing, standingTold } from './words.js';

const COLUMNS = [
  { title: 'Fence' }, { title: 'Origin' }, { title: 'Mode' }, { title: 'Sidecar' }, { title: 'Hosts', isNumber: true }, { title: 'Learned', isNumber: true },
  { title: 'Fallback', isNumber: true }, { title: 'Ready' }, { title: 'Age', isNumber: true },
];

export function Fences() {
  const { fences, loaded, error } = useStore();
  const [search, setSearch] = useState('');
  if (!loaded) return error ? html`<${Failure} error=${error} />` : html`<${Loading} what="fences" />`;
  if (fences.size === 0) return html`<${NoFences} />`;
  const wanted = search.trim().toLowerCase();
  // What is not well is on top.
  const rank = (fence) => (fence.ready?.status === 'False' ? 0 : fence.ready?.status === 'True' ? 2 : 1);
  const found = [...fences.values()].filter((fence) => idOf(fence).toLowerCase().includes(wanted));
  found.sort((a, b) => rank(a) - rank(b) || (idOf(a) < idOf(b) ? -1 : 1));
  const rows = found.map((fence) => ({
    key: idOf(fence),
    cells: [
      html`<${Name} id=${idOf(fence)} fences=${fences} />`, fence.origin, fence.mode, html`<${Standing} fence=${fence} />`, number(fence.routed), number(fence.learned),
      number(fence.external), html`<${Ready} condition=${fence.ready} />`, age(fence.created),
    ],
  }));
  return html`
    <h1 tabindex="-1">Fences</h1>
    <form class="tools" role="search" onSubmit=${(event) => event.preventDefault()}>
      <label>Search <input type="search" value=${search} placeholder="namespace or name" onInput=${(event) => setSearch(event.target.value)} /></label>
      <p class="count" role="status">${plural(found.length, 'fence')}</p>
    </form>
    ${rows.length === 0 ? html`<${Empty} title="No fence has this in its name" />` : html`<${Table} caption="Fences" columns=${COLUMNS} rows=${rows} hidden />`}`;
}

const TONES = { settled: 'good', switching: 'warn', wide: 'warn', leaving: 'warn', foreign: 'bad' };

export const Standing = ({ fence }) => html`<${Chip} tone=${TONES[standing(fence)]} title=${standingTold(fence)}>${standing(fence)}<//>`;
