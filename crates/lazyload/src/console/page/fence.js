// One fence: how it is doing, what it depends on and why, what happened to it, and both objects as YAML.

import { html, useState } from './vendor/preact.js';
import { Chip, Empty, Failure, Kind, Loading, Name, Table, useAnswer } from './parts.js';
import { Calls } from './fallback.js';
import { Standing } from './fences.js';
import { callersOf } from './graph.js';
import { useStore } from './store.js';
import { Timeline } from './timeline.js';
import { kindOf, moment, number, period, plural, standingTold } from './words.js';

export function Fence({ id }) {
  const { fences, turns } = useStore();
  const [namespace, name] = id.split('/');
  const path = `api/fences/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
  const { answer, error } = useAnswer(path, turns.get(id));
  const way = html`
    <nav class="way" aria-label="Way back"><a href="#/fences">Fences</a> <span aria-hidden="true">/</span> <span>${namespace}</span></nav>
    <h1 tabindex="-1">${id}</h1>`;
  if (error) return html`${way}<${Failure} error=${error}><p>It may have been removed. <a href="#/fences">All fences</a></p><//>`;
  if (!answer) return html`${way}<${Loading} what=${id} />`;
  const { report, arrows, timeline, fallback, documents } = answer;
  const callers = callersOf(fences, id);
  return html`
    ${way}
    <p class="chips">
      <${Chip}>${report.origin}<//> <${Chip}>${report.mode}<//> <${Standing} fence=${report} />
      <span>${plural(report.routed.length, 'entry', 'entries')} with routes, ${plural(arrows.length, 'dependency', 'dependencies')}</span>
    </p>
    <${Stage} report=${report} />
    ${report.coverage && html`<${Coverage} coverage=${report.coverage} />`}
    <div class="columns">
      <div>
        <h2>Depends on</h2>
        <${Dependencies} report=${report} arrows=${arrows} fences=${fences} />
        <h2>Called by</h2>
        ${callers.length === 0
          ? html`<p>No other fence depends on it.</p>`
          : html`<ul class="inline">${callers.map((caller) => html`<li key=${caller}><${Name} id=${caller} fences=${fences} /></li>`)}</ul>`}
        <h2>Through the global-sidecar</h2>
        ${fallback.length === 0
          ? html`<p>No call of it was counted there since this controller began.</p>`
          : html`<${Calls} busiest=${fallback} fences=${fences} alone />`}
      </div>
      <div>
        <h2>Conditions</h2>
        <${Conditions} conditions=${report.conditions} />
        <h2>What happened</h2>
        <${Timeline} moments=${timeline} />
      </div>
    </div>
    <h2>As objects</h2>
    <${Document} title="ServiceFence" text=${documents.fence} />
    ${documents.sidecar ? html`<${Document} title="Sidecar" text=${documents.sidecar} />` : html`<p>There is no Sidecar of this name.</p>`}`;
}

const STAGES = [
  { title: 'Every cluster', tells: 'the fence begins' },
  { title: 'Announced', tells: 'new clusters are there, without a route' },
  { title: 'Settled', tells: 'routes and clusters are the same' },
];
const AT = { wide: 0, switching: 1, settled: 2 };

// How far the switch is; a Sidecar that is no switch's has no stage.
function Stage({ report }) {
  const at = AT[report.sidecar];
  const under = report.announced.filter((host) => host !== '*/*');
  return html`
    <section class="stage" aria-label="Stage of the switch">
      ${at !== undefined &&
      html`<ol>${STAGES.map((stage, number) => html`<li class=${number === at ? 'now' : number < at ? 'past' : ''} aria-current=${number === at ? 'step' : null}>
        <strong>${stage.title}</strong> <span>${stage.tells}</span></li>`)}</ol>`}
      <p>${standingTold(report)}${under.length > 0 && ` Now: ${under.slice(0, 5).join(', ')}${under.length > 5 ? ` and ${under.length - 5} others` : ''}.`}</p>
    </section>`;
}

// How well a fence is known that learns only.
function Coverage({ coverage }) {
  const { since, newestHost, pods = 0, cronJobs = [], calls = 0, callsToFallback = 0 } = coverage;
  const at = (text) => html`<time dateTime=${text}>${moment(Date.parse(text) / 1000)}</time>`;
  return html`
    <section aria-label="Coverage">
      <h2>How well it is known</h2>
      <ul>
        <li>Observed since ${at(since)}.</li>
        <li>${newestHost ? html`Its newest host was learned at ${at(newestHost)}.` : 'Nothing new was learned since.'}</li>
        <li>${plural(pods, 'pod was', 'pods were')} seen calling${cronJobs.length > 0 && `, some of CronJob ${cronJobs.join(', ')}`}.</li>
        ${calls > 0 && html`<li>${number(callsToFallback)} of ${number(calls)} calls would have gone through the global-sidecar.</li>`}
      </ul>
    </section>`;
}

function Dependencies({ report, arrows, fences }) {
  if (arrows.length === 0) {
    return html`<${Empty} title="Nothing yet"><p>What its pods call is learned with the first call, which is served through the global-sidecar.</p><//>`;
  }
  const columns = [{ title: 'Host' }, { title: 'Kind' }, { title: 'First calls', isNumber: true }, { title: 'Brings besides' }];
  const rows = arrows.map((arrow, at) => {
    const { host, brings, unused } = report.dependencies[at];
    const others = brings.filter((brought) => brought !== host);
    const told = others.length > 4 ? `${others.slice(0, 4).join(', ')} and ${others.length - 4} others` : others.join(', ');
    return {
      key: host,
      cells: [html`<span title=${host}><${Name} id=${arrow.to} fences=${fences} /></span>`, html`<${Kind} kind=${kindOf(arrow)} />${unused && html` <${Unused} unused=${unused} />`}`, arrow.evidence ?? '–', told || '–'],
    };
  });
  return html`<${Table} caption="Dependencies" columns=${columns} rows=${rows} hidden />`;
}

// How long a host was not called, where that is told.
function Unused({ unused: { quarantinedSince, leaseSeconds, forSeconds } }) {
  if (quarantinedSince) return html`<span>quarantined since <time dateTime=${quarantinedSince}>${moment(Date.parse(quarantinedSince) / 1000)}</time>, not called for ${period(leaseSeconds)}</span>`;
  return forSeconds ? html`<span>not called for ${period(forSeconds)}</span>` : null;
}

function Conditions({ conditions }) {
  if (conditions.length === 0) return html`<p>None is told yet.</p>`;
  const isBad = ({ type, status }) => (['Conflict', 'Truncated', 'FirstCallsDenied'].includes(type) ? status === 'True' : status !== 'True');
  return html`<ul class="conditions">${conditions.map(
    (condition) => html`<li key=${condition.type}>
      <${Chip} tone=${isBad(condition) ? 'bad' : 'good'}>${condition.type}: ${condition.status}<//> ${condition.reason}
      ${condition.message && html`<p>${condition.message}</p>`}
    </li>`,
  )}</ul>`;
}

function Document({ title, text }) {
  const [said, say] = useState('Copy');
  const copy = () =>
    navigator.clipboard.writeText(text).then(
      () => say('Copied'),
      () => say('Not allowed here'),
    );
  return html`
    <details class="document">
      <summary>${title}</summary>
      <button type="button" onClick=${copy} aria-live="polite">${said}</button>
      <pre tabindex="0" aria-label=${`${title} as YAML`}>${text}</pre>
    </details>`;
}
