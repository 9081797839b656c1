// What fences save their proxies, as `lazyload savings` tells it.

import { html } from './vendor/preact.js';
import { Empty, Failure, Loading, Name, Table, useAnswer } from './parts.js';
import { useStore } from './store.js';
import { idOf, memory, number, plural } from './words.js';

const BASES = { sidecar: 'its Sidecar', fence: 'what it depends on so far', service: 'the settings: it has no fence yet' };

const COLUMNS = [
  { title: 'Workload' }, { title: 'Pods', isNumber: true }, { title: 'Clusters of a proxy' }, { title: 'Endpoints of a proxy', isNumber: true },
  { title: 'Memory of a proxy', isNumber: true }, { title: 'Of all pods', isNumber: true }, { title: 'Counted by' },
];

export function Savings() {
  const { fences } = useStore();
  const { answer, error } = useAnswer('api/savings');
  const title = html`<h1 tabindex="-1">Savings</h1>`;
  if (error) return html`${title}<${Failure} error=${error} />`;
  if (!answer) return html`${title}<${Loading} what="savings" />`;
  if (answer.workloads.length === 0) {
    return html`${title}<${Empty} title="Nothing is saved yet"><p>A fence with a Sidecar spares its proxies what its pods do not call.
      <a href="#/fences">Fences</a></p><//>`;
  }
  const rows = answer.workloads.map((saving) => ({
    key: idOf(saving),
    cells: [
      html`<${Name} id=${idOf(saving)} fences=${fences} />`, number(saving.pods), html`<${Load} saving=${saving} />`,
      `${number(saving.with.endpoints)} of ${number(saving.without.endpoints)}`, memory(saving.savedPerProxy), memory(saving.saved), BASES[saving.basis] ?? saving.basis,
    ],
  }));
  return html`
    ${title}
    <p class="total"><strong>${memory(answer.saved)}</strong> of Envoy’s memory in ${plural(answer.pods, 'pod')}</p>
    <p>Clusters and endpoints are counted from what is declared. Memory is an estimate: version, threads and statistics of Envoy shift it by a factor of two.
      Counted ${plural(answer.secondsAgo, 'second')} ago.</p>
    <${Table} caption="Savings" columns=${COLUMNS} rows=${rows} hidden />`;
}

const Load = ({ saving }) => html`
  <span class="load">
    <meter min="0" max=${Math.max(1, saving.without.clusters)} value=${saving.with.clusters} aria-label="Clusters with the Sidecar, of those without"></meter>
    ${number(saving.with.clusters)} of ${number(saving.without.clusters)}
  </span>`;
