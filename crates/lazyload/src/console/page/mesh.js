// The mesh: who calls whom, drawn or as a table, under a search, a namespace and kinds of dependencies.

import { html, useEffect, useMemo, useRef, useState } from './vendor/preact.js';
import { Drawing } from './drawing.js';
import { callersOf, graphOf, namespacesOf } from './graph.js';
import { Empty, Failure, Kind, Loading, Name, Ready, Sample, Table } from './parts.js';
import { useStore } from './store.js';
import { KINDS, kindOf, pageOf, plural, standingTold } from './words.js';

// Kept while other pages are looked at.
const choice = { search: '', namespace: '', kinds: new Set(KINDS.map((kind) => kind.id)), view: 'drawing', chosen: null };

export function Mesh() {
  const { fences, fresh, loaded, error } = useStore();
  const [, again] = useState(0);
  const choose = (changes) => {
    Object.assign(choice, changes);
    again((count) => count + 1);
  };
  const search = choice.search.trim().toLowerCase();
  const graph = useMemo(() => graphOf(fences, { ...choice, search }), [fences, search, choice.namespace, choice.kinds]);
  if (!loaded) return error ? html`<${Failure} error=${error} />` : html`<${Loading} what="the mesh" />`;
  if (fences.size === 0) return html`<${NoFences} />`;
  const chosen = graph.nodes.some((node) => node.id === choice.chosen) ? choice.chosen : null;
  // Another frame is laid out anew; a drawing that gets its first node too.
  const frame = [search, choice.namespace, [...choice.kinds].join(), graph.nodes.length === 0].join('|');
  return html`
    <h1 class="unseen" tabindex="-1">Mesh</h1>
    <${Tools} fences=${fences} graph=${graph} choose=${choose} />
    ${graph.nodes.length === 0
      ? html`<${Empty} title="Nothing fits"><p>No fence and no dependency has this in its name.</p>
          <button type="button" onClick=${() => choose({ search: '', namespace: '', kinds: new Set(KINDS.map((kind) => kind.id)) })}>Show all</button><//>`
      : choice.view === 'table'
        ? html`<${Edges} graph=${graph} fences=${fences} fresh=${fresh} />`
        : html`<div class="mesh">
            <${Drawing} graph=${graph} frame=${frame} chosen=${chosen} fresh=${fresh} onChoose=${(id) => choose({ chosen: id })} />
            <${Beside} id=${chosen} fences=${fences} onClose=${() => choose({ chosen: null })} />
          </div>`}`;
}

function Tools({ fences, graph, choose }) {
  const input = useRef(null);
  const namespaces = useMemo(() => namespacesOf(fences), [fences]);
  useEffect(() => {
    const jump = (event) => {
      if (event.key !== '/' || ['INPUT', 'SELECT', 'TEXTAREA'].includes(document.activeElement.tagName)) return;
      event.preventDefault();
      input.current.focus();
    };
    document.addEventListener('keydown', jump);
    return () => document.removeEventListener('keydown', jump);
  }, []);
  const toggle = (id) => {
    const kinds = new Set(choice.kinds);
    if (!kinds.delete(id)) kinds.add(id);
    choose({ kinds });
  };
  // Enter looks at the first that begins like what was typed.
  const first = () => graph.nodes.find((node) => node.name.startsWith(choice.search.trim())) ?? graph.nodes[0];
  return html`
    <form class="tools" role="search" onSubmit=${(event) => { event.preventDefault(); choose({ chosen: first()?.id ?? null }); }}>
      <label>Search <kbd aria-hidden="true">/</kbd>
        <input ref=${input} type="search" value=${choice.search} placeholder="service, host or namespace" onInput=${(event) => choose({ search: event.target.value })} />
      </label>
      <label>Namespace
        <select value=${choice.namespace} onChange=${(event) => choose({ namespace: event.target.value })}>
          <option value="">all</option>
          ${namespaces.map((name) => html`<option value=${name}>${name}</option>`)}
        </select>
      </label>
      <fieldset class="views"><legend class="unseen">View</legend>
        ${['drawing', 'table'].map(
          (view) => html`<label class="toggle"><input type="radio" name="view" value=${view} checked=${choice.view === view} onChange=${() => choose({ view })} />
            <span>${view === 'drawing' ? 'Drawing' : 'Table'}</span></label>`,
        )}
      </fieldset>
      <fieldset class="kinds"><legend class="unseen">Kinds of dependencies</legend>
        ${KINDS.map(
          (kind) => html`<label class="toggle" title=${kind.tells}><input type="checkbox" checked=${choice.kinds.has(kind.id)} onChange=${() => toggle(kind.id)} />
            <span><${Sample} kind=${kind.id} /> ${kind.label}</span></label>`,
        )}
      </fieldset>
      <p class="count" role="status">${plural(graph.nodes.length, 'node')}, ${plural(graph.edges.length, 'dependency', 'dependencies')}</p>
    </form>`;
}

function Edges({ graph, fences, fresh }) {
  const columns = [{ title: 'Caller' }, { title: 'Depends on' }, { title: 'Kind' }, { title: 'First calls', isNumber: true }];
  const row = (edge) => ({
    key: edge.id,
    mark: fresh.has(edge.key) ? 'fresh' : '',
    cells: [html`<${Name} id=${edge.from} fences=${fences} />`, html`<${Name} id=${edge.to} fences=${fences} />`, html`<${Kind} kind=${edge.kind} />`, edge.evidence ?? '–'],
  });
  const rows = graph.edges.map(row);
  if (rows.length === 0) return html`<${Empty} title="No dependencies yet"><p>What the pods of a fence call is learned with their first call.</p><//>`;
  return html`<${Table} caption="Dependencies" columns=${columns} rows=${rows} hidden />`;
}

// What was chosen in the drawing.
function Beside({ id, fences, onClose }) {
  if (!id) {
    return html`<aside class="beside hint" aria-label="Chosen node">
      <p>Choose a node to see what it depends on and who calls it. Filled: fenced. Outlined: a Service without a fence. Dashed: a host outside the mesh.</p>
      <p><kbd>/</kbd> searches, <kbd>Enter</kbd> chooses the first found.</p>
    </aside>`;
  }
  const fence = fences.get(id);
  const callers = callersOf(fences, id);
  return html`
    <aside class="beside" aria-label="Chosen node" aria-live="polite">
      <header><h2>${id}</h2><button type="button" onClick=${onClose} aria-label="Close">×</button></header>
      ${fence
        ? html`<p><${Ready} condition=${fence.ready} /></p><p>${standingTold(fence)}</p><p><a class="button" href=${pageOf(id)}>Open the fence’s page</a></p>
            <h3>Depends on ${fence.arrows.length}</h3>
            ${fence.arrows.length === 0 && html`<p>Nothing yet: what its pods call is learned with the first call.</p>`}
            <ul>${fence.arrows.slice(0, 100).map((arrow) => html`<li key=${arrow.to}><${Kind} kind=${kindOf(arrow)} /> <${Name} id=${arrow.to} fences=${fences} /></li>`)}</ul>`
        : html`<p>It has no fence: its own calls are not looked at.</p>`}
      <h3>Called by ${callers.length}</h3>
      <ul>${callers.slice(0, 100).map((caller) => html`<li key=${caller}><${Name} id=${caller} fences=${fences} /></li>`)}</ul>
      ${callers.length > 100 && html`<p>and others: the table has them all.</p>`}
    </aside>`;
}

export const NoFences = () => html`
  <h1 class="unseen" tabindex="-1">Mesh</h1>
  <${Empty} title="No workload is fenced yet">
    <p>Label a Service, and the controller makes its fence (with <code>general.autoFence</code>):</p>
    <pre>kubectl label service NAME -n NAMESPACE slime.io/serviceFenced=true</pre>
    <p>or write a ServiceFence of your own. It appears here by itself.</p>
  <//>`;
