// What happened to a fence, the newest first.

import { html, useState } from './vendor/preact.js';
import { moment, number } from './words.js';

const SHOWN = 30;

const HOST = /^\{.*destination_service="([^"]*)".*\}$/;
const hostOf = (key) => HOST.exec(key)?.[1] ?? key;

function names({ count, first }) {
  const rest = count - first.length;
  return html`${first.map((name, at) => html`${at > 0 && ', '}<code>${name}</code>`)}${rest > 0 && ` and ${number(rest)} others`}`;
}

function told(it) {
  switch (it.what) {
    case 'made':
      return html`The fence was made.`;
    case 'known':
      return html`Learned before this controller began: ${names(it.hosts)}.`;
    case 'called':
      return html`Learned <code>${it.host}</code>: pod <code>${it.caller}</code> called <code>${it.written}</code>
        ${it.verified ? ' (by its certificate too)' : ' (by its address)'}.`;
    case 'measured':
      return html`Learned <code>${hostOf(it.key)}</code> from Prometheus, query <code>${it.handler}</code>.`;
    case 'forgotten':
      return html`Forgot <code>${hostOf(it.key)}</code>: ${it.asked ? 'its user asked for it' : 'it was not called for the window'}.`;
    case 'quarantined':
      return html`Put <code>${it.host}</code> into quarantine: it was not called for its lease. Its first call brings it back.`;
    case 'returned':
      return html`<code>${it.host}</code> was called and comes back from quarantine.`;
    case 'sidecar':
      return sidecar(it);
    case 'sidecarGone':
      return html`The Sidecar went.`;
    case 'condition':
      return html`Became ${it.kind}: ${it.status}, ${it.reason}${it.message && `: ${it.message}`}`;
    default:
      return html`${it.what}`;
  }
}

function sidecar({ isNew, announced, routed, unrouted }) {
  const changes = [[announced, 'clusters announced'], [routed, 'routes came'], [unrouted, 'routes went']].filter(([hosts]) => hosts.count > 0);
  if (changes.length === 0) return html`The switch of the Sidecar was over: clusters that were kept for a moment went.`;
  return html`${isNew ? 'The Sidecar was made' : 'The Sidecar changed'}${changes.map(([hosts, what], at) => html`${at === 0 ? ': ' : '; '}${what}: ${names(hosts)}`)}.`;
}

export function Timeline({ moments }) {
  const [shown, show] = useState(SHOWN);
  if (moments.length === 0) return html`<p>Nothing since this controller began.</p>`;
  const newest = [...moments].reverse();
  return html`
    <ol class="timeline" reversed>
      ${newest.slice(0, shown).map(
        (it) => html`<li class=${it.what}>${it.at ? html`<time dateTime=${new Date(it.at * 1000).toISOString()}>${moment(it.at)}</time>` : html`<span class="time">earlier</span>`}
          <span>${told(it)}</span></li>`,
      )}
    </ol>
    ${newest.length > shown && html`<button type="button" onClick=${() => show(newest.length)}>Show all ${newest.length}</button>`}`;
}
