// What is known of the mesh: fetched once, then kept up to date by what the controller tells live. The page asks for nothing again unless it was cut off.

import { useEffect, useReducer } from './vendor/preact.js';
import { idOf, kindNamed, kindOf } from './words.js';

// A dependency counts as new for so long.
const FRESH = 6000;
// After the stream was refused.
const PAUSE = 5000;

export const store = {
  // By NAMESPACE/NAME.
  fences: new Map(),
  about: null,
  busiest: [],
  loaded: false,
  // 'connecting', 'live' or 'cut'
  line: 'connecting',
  error: null,
  // Dependencies that are new, each with the time when it stops to be.
  fresh: new Map(),
  // The last thing that happened, for who cannot see it.
  said: '',
  // Grows with each change of a fence, by its name.
  turns: new Map(),
};

const listeners = new Set();
let isTold = false;

function tell() {
  if (isTold) return;
  isTold = true;
  queueMicrotask(() => {
    isTold = false;
    listeners.forEach((listener) => listener());
  });
}

// The store, and another rendering whenever it is different.
export function useStore() {
  const [, again] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    listeners.add(again);
    return () => listeners.delete(again);
  }, []);
  return store;
}

async function fetched(path) {
  const answer = await fetch(path);
  if (answer.ok) return answer;
  const said = await answer.text();
  let told = said || answer.statusText;
  try {
    told = JSON.parse(said).error;
  } catch {
    // It was not ours, and is told as it is.
  }
  throw new Error(`${told} (${answer.status})`);
}

export const ask = async (path) => (await fetched(path)).json();

async function load() {
  const [text, busiest] = await Promise.all([fetched('api/fences').then((answer) => answer.text()), ask('api/fallback')]);
  const rows = text.split('\n').filter(Boolean).map((line) => JSON.parse(line));
  store.fences = new Map(rows.map((row) => [idOf(row), row]));
  store.busiest = busiest;
  rows.forEach((row) => turn(idOf(row)));
  store.loaded = true;
  store.error = null;
}

function turn(id) {
  store.turns.set(id, (store.turns.get(id) ?? 0) + 1);
}

function change({ changed, gone }) {
  for (const row of changed) {
    const id = idOf(row);
    const had = new Set(store.fences.get(id)?.arrows.map((arrow) => arrow.to) ?? []);
    const fresh = row.arrows.filter((arrow) => !had.has(arrow.to));
    fresh.forEach((arrow) => refresh(`${id} ${arrow.to}`));
    if (fresh.length > 0) {
      const kinds = fresh.map((arrow) => `${arrow.to} (${kindNamed(kindOf(arrow)).label.toLowerCase()})`);
      store.said = `${id} now depends on ${kinds.slice(0, 3).join(', ')}${fresh.length > 3 ? ' and others' : ''}`;
    }
    store.fences.set(id, row);
    turn(id);
  }
  for (const id of gone) {
    store.fences.delete(id);
    store.said = `the fence ${id} is gone`;
    turn(id);
  }
  // A new map, so that what depends on it is computed anew.
  store.fences = new Map(store.fences);
}

function refresh(key) {
  const until = Date.now() + FRESH;
  store.fresh.set(key, until);
  setTimeout(() => {
    if (store.fresh.get(key) === until) {
      store.fresh.delete(key);
      tell();
    }
  }, FRESH);
}

async function reload() {
  try {
    await load();
  } catch (error) {
    store.error = error.message;
  }
  tell();
}

// Listens, for as long as the page is open.
export function begin() {
  const events = new EventSource('api/events');
  const on = (name, take) =>
    events.addEventListener(name, (event) => {
      take(JSON.parse(event.data));
      tell();
    });
  events.addEventListener('open', () => {
    store.line = 'live';
    // What happened while we did not listen was not told.
    reload();
  });
  events.addEventListener('error', () => {
    store.line = 'cut';
    tell();
    if (events.readyState === EventSource.CLOSED) setTimeout(begin, PAUSE);
  });
  on('about', (about) => (store.about = about));
  on('fences', change);
  on('fallback', (busiest) => (store.busiest = busiest));
  on('reload', reload);
}
