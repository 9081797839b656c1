// The settings in force, and what else is known of this controller.

import { html, useState } from './vendor/preact.js';
import { Failure, Loading, Table, useAnswer } from './parts.js';
import { useStore } from './store.js';
import { plural } from './words.js';

const TAKES = { nothing: 'at once', restart: 'a restart', render: 'lazyload render' };

export function Settings() {
  const { about } = useStore();
  const { answer, error } = useAnswer('api/settings');
  const [search, setSearch] = useState('');
  const title = html`<h1 tabindex="-1">Settings</h1>`;
  if (error) return html`${title}<${Failure} error=${error} />`;
  if (!answer) return html`${title}<${Loading} what="settings" />`;
  const isMeant = (entry) => entry.path.toLowerCase().includes(search.trim().toLowerCase());
  const rows = answer.filter(isMeant).map((entry) => ({
    key: entry.path,
    cells: [html`<code>${entry.path}</code>`, html`<code class="value">${shown(entry.value)}</code>`, TAKES[entry.takes] ?? entry.takes],
  }));
  return html`
    ${title}
    ${about && html`<${About} about=${about} />`}
    <form class="tools" role="search" onSubmit=${(event) => event.preventDefault()}>
      <label>Search <input type="search" value=${search} placeholder="path" onInput=${(event) => setSearch(event.target.value)} /></label>
      <p class="count" role="status">${plural(rows.length, 'setting')}</p>
    </form>
    <${Table} caption="Settings in force" columns=${[{ title: 'Setting' }, { title: 'Value in force' }, { title: 'A change takes' }]} rows=${rows} hidden />`;
}

function shown(value) {
  if (value === null || value === '' || (Array.isArray(value) && value.length === 0)) return '–';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function About({ about }) {
  const facts = [
    ['Version', about.version],
    ['Replica', about.replica ?? 'not told (POD_NAME)'],
    ['Writes', about.leads ? 'yes, this replica leads' : 'no, it stands by'],
    ['Watches', `${plural(about.services, 'Service')}, ${plural(about.fences, 'fence')}`],
    ...(about.awaited.length > 0 ? [['Waits for', about.awaited.join(', ')]] : []),
    ...about.notes.map((note) => ['Note', note]),
  ];
  return html`<dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}
