// Parts that several pages are made of.

import { html, useEffect, useState } from './vendor/preact.js';
import { ask } from './store.js';
import { kindNamed, pageOf } from './words.js';

// Rows of a table before its reader asks for more.
const ROWS = 200;

// What is there before there is anything: what it means, and what to do.
export const Empty = ({ title, children }) => html`<div class="empty"><h2>${title}</h2>${children}</div>`;

export const Failure = ({ error, children }) =>
  html`<div class="empty failure" role="alert"><h2>This cannot be shown</h2><p>${error}</p>${children}</div>`;

export const Loading = ({ what }) => html`<p class="empty" role="status">Loading ${what} …</p>`;

export const Chip = ({ tone = 'plain', title, children }) => html`<span class=${`chip ${tone}`} title=${title}>${children}</span>`;

const ARROWS = {
  square: 'M25 4h6v6h-6z', triangle: 'M24 3l8 4-8 4z', diamond: 'M23 7l4.5-4 4.5 4-4.5 4z', vee: 'M24 2l8 5-8 5 3-5z',
  circle: 'M25 7a3 3 0 1 0 6 0 3 3 0 1 0-6 0', tee: 'M29 1h2v12h-2z',
};
const DASHES = { solid: null, dashed: '5 3', dotted: '2 2.5' };

// How a kind of dependency is drawn.
export function Sample({ kind }) {
  const { line, width, arrow } = kindNamed(kind);
  return html`
    <svg class=${`sample kind-${kind}`} viewBox="0 0 34 14" width="34" height="14" aria-hidden="true">
      <line x1="1" y1="7" x2="26" y2="7" stroke-width=${width} stroke-dasharray=${DASHES[line]} />
      <path d=${ARROWS[arrow]} />
    </svg>`;
}

export const Kind = ({ kind }) => html`<span class="kind" title=${kindNamed(kind).tells}><${Sample} kind=${kind} /> ${kindNamed(kind).label}</span>`;

export const Ready = ({ condition }) => {
  if (!condition) return html`<${Chip}>not told<//>`;
  const tone = { True: 'good', False: 'bad' }[condition.status] ?? 'warn';
  const told = { True: 'Ready', False: 'Not ready' }[condition.status] ?? condition.status;
  return html`<${Chip} tone=${tone} title=${condition.message}>${told}: ${condition.reason}<//>`;
};

// A fence by its name, or whatever else a host is.
export const Name = ({ id, fences }) => (fences.has(id) ? html`<a href=${pageOf(id)}>${id}</a>` : html`<span>${id}</span>`);

// `columns`: a title each, and whether it is a number. `rows`: a key and cells each.
export function Table({ caption, columns, rows, hidden = false }) {
  const [shown, show] = useState(ROWS);
  return html`
    <div class="table" tabindex="0" role="region" aria-label=${caption}>
      <table>
        <caption class=${hidden ? 'unseen' : ''}>${caption}</caption>
        <thead><tr>${columns.map((column) => html`<th scope="col" class=${column.isNumber ? 'number' : ''}>${column.title}</th>`)}</tr></thead>
        <tbody>
          ${rows.slice(0, shown).map(
            ({ key, cells, mark }) => html`
              <tr key=${key} class=${mark ?? ''}>${cells.map((cell, at) => html`<td class=${columns[at].isNumber ? 'number' : ''}>${cell}</td>`)}</tr>`,
          )}
        </tbody>
      </table>
    </div>
    ${rows.length > shown &&
    html`<p class="more">
      ${shown} of ${rows.length} rows. <button type="button" onClick=${() => show(shown + ROWS)}>Show ${Math.min(ROWS, rows.length - shown)} more</button>
    </p>`}`;
}

// What a path answers, asked anew whenever `turn` is another; the last answer stays until the next one is there.
export function useAnswer(path, turn = 0) {
  const [state, set] = useState({ path, answer: null, error: null });
  useEffect(() => {
    let isCurrent = true;
    ask(path).then(
      (answer) => isCurrent && set({ path, answer, error: null }),
      (error) => isCurrent && set({ path, answer: null, error: error.message }),
    );
    return () => (isCurrent = false);
  }, [path, turn]);
  return state.path === path ? state : { path, answer: null, error: null };
}
