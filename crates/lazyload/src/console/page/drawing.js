// The drawing: nodes and edges on a canvas that can be moved and magnified. Everything in it is in the table too.

import { html, useEffect, useRef } from './vendor/preact.js';
import cytoscape from './vendor/cytoscape.js';
import { layout, widthOf } from './layout.js';
import { KINDS } from './words.js';

// So many edges are drawn without arrows, and hidden while the drawing is moved.
const MANY = 3000;
const STEP = 60;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function styles(isLarge) {
  const [ink, surface, raised, muted, accent, bad] = ['ink', 'surface', 'raised', 'muted', 'accent', 'bad'].map(colour);
  const nodes = [
    {
      selector: 'node',
      style: {
        label: 'data(label)', width: 'data(width)', height: 28, shape: 'round-rectangle', 'font-size': 12, 'font-family': 'system-ui, sans-serif',
        color: ink, 'text-valign': 'center', 'text-halign': 'center', 'background-color': raised, 'border-width': 1.5, 'border-color': muted,
        'min-zoomed-font-size': 6, 'overlay-opacity': 0,
      },
    },
    { selector: 'node.fence', style: { 'background-color': accent, color: surface, 'border-width': 0, 'font-weight': 600 } },
    { selector: 'node.host', style: { shape: 'round-hexagon', 'border-style': 'dashed', padding: 4 } },
    { selector: 'node.namespace', style: { 'border-style': 'double', 'border-width': 4 } },
    { selector: 'node.unready', style: { 'border-width': 3, 'border-color': bad, 'border-style': 'solid' } },
    { selector: 'node.chosen', style: { 'underlay-color': accent, 'underlay-opacity': 0.3, 'underlay-padding': 8 } },
    {
      selector: 'node.title',
      style: { 'background-opacity': 0, 'border-width': 0, color: muted, 'font-size': 'data(size)', 'font-weight': 600, 'min-zoomed-font-size': 5, events: 'no' },
    },
  ];
  const edges = [
    {
      selector: 'edge',
      style: { 'curve-style': isLarge ? 'haystack' : 'bezier', 'overlay-opacity': 0, 'arrow-scale': 1.1, opacity: isLarge ? 0.45 : 0.9 },
    },
    ...KINDS.map((kind) => ({
      selector: `edge.${kind.id}`,
      style: {
        'line-color': colour(`kind-${kind.id}`), 'target-arrow-color': colour(`kind-${kind.id}`), 'target-arrow-shape': kind.arrow,
        'line-style': kind.line, width: kind.width,
      },
    })),
    { selector: 'edge.near', style: { opacity: 1, 'z-index': 9 } },
    { selector: 'edge.far', style: { opacity: 0.12 } },
    { selector: 'edge.fresh', style: { width: 5, opacity: 1, 'underlay-color': accent, 'underlay-opacity': 0.35, 'underlay-padding': 6, 'z-index': 10 } },
  ];
  return [...nodes, ...edges];
}

const nodeElement = (node, place) => ({
  group: 'nodes', data: { id: node.id, label: node.label, width: widthOf(node) }, position: place, classes: classesOf(node),
});
const classesOf = (node) => `${node.type}${node.isUnready ? ' unready' : ''}`;
const edgeElement = (edge) => ({ group: 'edges', data: { id: edge.id, source: edge.from, target: edge.to, key: edge.key }, classes: edge.kind });

// `frame` says when everything is laid out anew: as long as it is the same, what is there stays where it is.
export function Drawing({ graph, frame, chosen, fresh, onChoose }) {
  const place = useRef(null);
  const drawn = useRef(null);
  useEffect(() => {
    const view = cytoscape({
      container: place.current, minZoom: 0.02, maxZoom: 3, autoungrabify: true, boxSelectionEnabled: false, selectionType: 'single',
      hideEdgesOnViewport: graph.edges.length > MANY, textureOnViewport: graph.edges.length > MANY, pixelRatio: graph.edges.length > MANY ? 1 : 'auto',
    });
    view.on('tap', 'node', (event) => onChoose(event.target.id()));
    view.on('tap', (event) => event.target === view && onChoose(null));
    drawn.current = view;
    // The tests, and the curious, find it here.
    place.current.drawing = view;
    const resized = new ResizeObserver(() => {
      view.resize();
      fit(view);
    });
    resized.observe(place.current);
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    const restyle = () => view.style(styles(view.edges().length > MANY));
    scheme.addEventListener('change', restyle);
    return () => {
      scheme.removeEventListener('change', restyle);
      resized.disconnect();
      view.destroy();
    };
  }, [frame]);
  useEffect(() => show(drawn.current, graph), [graph, frame]);
  useEffect(() => {
    const view = drawn.current;
    view.batch(() => {
      view.elements('.chosen, .near, .far').removeClass('chosen near far');
      view.edges('.fresh').removeClass('fresh');
      view.edges().filter((edge) => fresh.has(edge.data('key'))).addClass('fresh');
      const node = chosen ? view.getElementById(chosen) : view.collection();
      if (node.length === 0) return;
      node.addClass('chosen');
      view.edges().addClass('far');
      node.connectedEdges().removeClass('far').addClass('near');
    });
  });
  const move = (event) => {
    const view = drawn.current;
    const steps = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
    const centre = { x: view.width() / 2, y: view.height() / 2 };
    if (steps[event.key]) view.panBy({ x: steps[event.key][0], y: steps[event.key][1] });
    else if (event.key === '+' || event.key === '=') view.zoom({ level: view.zoom() * 1.25, renderedPosition: centre });
    else if (event.key === '-') view.zoom({ level: view.zoom() / 1.25, renderedPosition: centre });
    else if (event.key === '0') arrange(view, graph);
    else return;
    event.preventDefault();
  };
  const press = (key) => () => move({ key, preventDefault() {} });
  return html`
    <div class="drawing">
      <div class="canvas" ref=${place} tabindex="0" role="application" onKeyDown=${move}
        aria-label="Drawing of the mesh. Arrow keys move it, plus and minus magnify it, 0 arranges it anew. The view Table has the same as rows."></div>
      <div class="zoom" role="group" aria-label="Magnification">
        <button type="button" onClick=${press('+')} aria-label="Larger">+</button>
        <button type="button" onClick=${press('-')} aria-label="Smaller">−</button>
        <button type="button" onClick=${press('0')} aria-label="Arrange anew and show all" title="Arrange anew and show all">⤢</button>
      </div>
    </div>`;
}

function fit(view) {
  view.fit(undefined, 40);
  if (view.zoom() > 1.3) {
    view.zoom(1.3);
    view.center();
  }
}

// All of it anew: when it is first shown, and when its reader asks for it.
function arrange(view, graph) {
  const { places, titles } = layout(graph);
  view.batch(() => {
    view.nodes('.title').remove();
    for (const [id, position] of places) view.getElementById(id).position(position);
    for (const { name, size, x, y } of titles) {
      view.add({ group: 'nodes', data: { id: `title ${name}`, label: name, width: 10, size }, position: { x, y }, classes: 'title' });
    }
  });
  fit(view);
}

// Brings the drawing up to date. What is there keeps its place, and what is new comes near its neighbours.
function show(view, graph) {
  const isFirst = view.nodes().length === 0;
  view.batch(() => {
    const nodes = new Map(graph.nodes.map((node) => [node.id, node]));
    const edges = new Map(graph.edges.map((edge) => [edge.id, edge]));
    view.elements().filter((element) => !element.hasClass('title') && !nodes.has(element.id()) && !edges.has(element.id())).remove();
    for (const node of graph.nodes) {
      const there = view.getElementById(node.id);
      if (there.length > 0) there.data({ label: node.label, width: widthOf(node) }).classes(classesOf(node));
      else view.add(nodeElement(node, isFirst ? { x: 0, y: 0 } : near(view, graph, node)));
    }
    for (const edge of graph.edges) {
      const there = view.getElementById(edge.id);
      if (there.length > 0) there.classes(edge.kind);
      else view.add(edgeElement(edge));
    }
  });
  view.style(styles(graph.edges.length > MANY));
  if (isFirst) arrange(view, graph);
}

// The first free place to the right of a neighbour.
function near(view, graph, node) {
  const edge = graph.edges.find((edge) => edge.to === node.id || edge.from === node.id);
  const neighbour = edge && view.getElementById(edge.to === node.id ? edge.from : edge.to);
  const origin = neighbour?.length > 0 ? neighbour.position() : { x: 0, y: 0 };
  const side = edge?.from === node.id ? -1 : 1;
  const x = origin.x + side * ((widthOf(node) + (neighbour?.length > 0 ? neighbour.data('width') : 0)) / 2 + 110);
  const isFree = (y) => view.nodes().every((other) => Math.abs(other.position('y') - y) > 40 || Math.abs(other.position('x') - x) > widthOf(node));
  const offsets = Array.from({ length: 60 }, (_, at) => (at % 2 === 0 ? 1 : -1) * Math.ceil(at / 2) * 52);
  return { x, y: origin.y + (offsets.find((offset) => isFree(origin.y + offset)) ?? 0) };
}
