// What goes on through the global-sidecar, as `lazyload top` tells it of one replica.

import { html } from './vendor/preact.js';
import { Chip, Empty, Failure, Loading, Name, Table } from './parts.js';
import { useStore } from './store.js';
import { age, idOf, number, plural, wayOf, wayTold } from './words.js';

const TONES = { stuck: 'bad', coming: 'warn', direct: 'good' };

export function Fallback() {
  const { busiest, fences, loaded, error } = useStore();
  if (!loaded) return error ? html`<${Failure} error=${error} />` : html`<${Loading} what="the traffic" />`;
  const stuck = busiest.filter((busy) => busy.stuck).length;
  return html`
    <h1 tabindex="-1">Through the global-sidecar</h1>
    <p>What this replica was told since it began, renewed each 5 seconds: what is stuck first, then the busiest.
      <span role="status">${stuck > 0 ? ` ${plural(stuck, 'host')} stuck.` : ''}</span></p>
    ${busiest.length === 0
      ? html`<${Empty} title="Nothing was called through the global-sidecar">
          <p>So it is as far as access logs tell: every known host is called directly. If calls should be here, <code>lazyload doctor</code> tells whether
            access logs arrive.</p><//>`
      : html`<${Calls} busiest=${busiest} fences=${fences} />`}`;
}

// `alone`: of one fence.
export function Calls({ busiest, fences, alone = false }) {
  const columns = [
    ...(alone ? [] : [{ title: 'Caller' }]),
    { title: 'Host' }, { title: 'Lately', isNumber: true }, { title: 'Calls', isNumber: true }, { title: 'Last', isNumber: true }, { title: 'Way' },
  ];
  const rows = busiest.map((busy) => ({
    key: `${idOf(busy)} ${busy.host}`,
    cells: [
      ...(alone ? [] : [html`<${Name} id=${idOf(busy)} fences=${fences} />`]),
      html`<code>${busy.host}</code>`, number(busy.lately), number(busy.calls), age(busy.last),
      html`<${Chip} tone=${TONES[wayOf(busy)]} title=${wayTold(busy)}>${wayOf(busy)}<//>`,
    ],
  }));
  return html`<${Table} caption="Calls through the global-sidecar" columns=${columns} rows=${rows} hidden />`;
}
