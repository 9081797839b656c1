// The frame around all pages: which one is shown, how the line to the controller is, and where else to go. Addresses are relative and behind the hash, so
// that the console works under any prefix.

import { html, render, useEffect, useState } from './vendor/preact.js';
import { Fallback } from './fallback.js';
import { Fence } from './fence.js';
import { Fences } from './fences.js';
import { Mesh } from './mesh.js';
import { Savings } from './savings.js';
import { Settings } from './settings.js';
import { begin, useStore } from './store.js';
import { Chip } from './parts.js';

const PAGES = [
  { path: '', title: 'Mesh', part: Mesh },
  { path: 'fences', title: 'Fences', part: Fences },
  { path: 'fallback', title: 'Fallback', part: Fallback },
  { path: 'savings', title: 'Savings', part: Savings },
  { path: 'settings', title: 'Settings', part: Settings },
];

// What is behind the hash, taken apart.
function address() {
  const [path = '', ...rest] = location.hash.replace(/^#\/?/, '').split('/').map(decodeURIComponent);
  return { path, rest };
}

function useAddress() {
  const [at, go] = useState(address);
  useEffect(() => {
    const follow = () => go(address());
    addEventListener('hashchange', follow);
    return () => removeEventListener('hashchange', follow);
  }, []);
  return at;
}

function App() {
  const { path, rest } = useAddress();
  const isFence = path === 'fence' && rest.length === 2;
  const page = PAGES.find((page) => page.path === (isFence ? 'fences' : path));
  const title = isFence ? rest.join('/') : (page?.title ?? 'Not found');
  useEffect(() => {
    document.title = `${title} – Lazyload`;
    // A reader of the screen is told where he is; nobody is moved when the page opens.
    if (moved) (document.querySelector('main h1') ?? document.querySelector('main')).focus({ preventScroll: true });
    moved = true;
    scrollTo(0, 0);
  }, [path, rest.join('/')]);
  return html`
    <button type="button" class="skip" onClick=${() => document.querySelector('main').focus()}>Skip to content</button>
    <header class="top">
      <a class="brand" href="#/"><img src="icon.svg" alt="" width="24" height="24" /> Lazyload</a>
      <nav aria-label="Pages">
        ${PAGES.map((one) => html`<a href=${`#/${one.path}`} aria-current=${one === page ? 'page' : null}>${one.title}</a>`)}
      </nav>
      <${Line} />
    </header>
    <${Trouble} />
    <main tabindex="-1" class=${page?.path === '' ? 'full' : ''}>
      ${isFence
        ? html`<${Fence} key=${title} id=${title} />`
        : page
          ? html`<${page.part} />`
          : html`<h1 tabindex="-1">There is no such page</h1><p><a href="#/">The mesh</a></p>`}
    </main>
    <footer><a href="vendor/LICENSES.txt">Licences of the libraries</a></footer>
    <${Said} />`;
}

// Whether the page was moved to another one yet.
let moved = false;

// How the line to the controller is, and whether this replica writes.
function Line() {
  const { about, line } = useStore();
  const told = { live: 'live', connecting: 'connecting …', cut: 'cut off, trying again' }[line];
  return html`
    <p class="line">
      ${about && html`<${Chip} tone=${about.leads ? 'good' : 'plain'} title=${about.replica}>${about.leads ? 'leads' : 'stands by'}<//>`}
      <${Chip} tone=${{ live: 'good', cut: 'bad' }[line] ?? 'plain'}><span class=${`dot ${line}`} aria-hidden="true"></span>${told}<//>
    </p>`;
}

function Trouble() {
  const { about, line, error, loaded } = useStore();
  const told = [];
  if (line === 'cut') told.push('The line to the controller is cut: what you see may be old. If kubectl port-forward has ended, start it again.');
  if (error && loaded) told.push(`Not brought up to date: ${error}`);
  if (about?.awaited.length > 0) told.push(`The controller is starting; it waits for ${about.awaited.join(', ')}.`);
  return html`<div class="trouble" role="status">${told.map((text) => html`<p>${text}</p>`)}</div>`;
}

const Said = () => html`<p class="unseen" role="status" aria-live="polite">${useStore().said}</p>`;

render(html`<${App} />`, document.getElementById('app'));
begin();
