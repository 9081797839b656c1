// Where the nodes are drawn: the same mesh always looks the same, and nothing swings. Small graphs flow from callers to callees; large ones are a map of
// their namespaces, because arrows cannot be followed there anyway.

const SMALL = 300;
const ROW = 52;
const COLUMN_GAP = 110;
// Nodes of a column, before another one is begun beside it.
const TALL = 22;
// Letters of a namespace's name on a map, at most.
const TITLE = 100;

export const widthOf = (node) => 26 + Math.min(node.label.length, 34) * 7;

export const isSmall = (graph) => graph.nodes.length <= SMALL;

// Places by node, and the names of namespaces where they are drawn.
export function layout(graph) {
  return isSmall(graph) ? flow(graph) : map(graph);
}

function flow({ nodes, edges }) {
  const ranks = ranksOf(nodes, edges);
  const columns = [];
  for (const node of nodes) (columns[ranks.get(node.id)] ??= []).push(node);
  const callers = new Map();
  for (const { from, to } of edges) if (from !== to) callers.set(to, [...(callers.get(to) ?? []), from]);
  const places = new Map();
  let left = 0;
  for (const column of columns.filter(Boolean)) {
    // Beside their callers, as far as they are placed already.
    const wished = (node) => {
      const placed = (callers.get(node.id) ?? []).filter((id) => places.has(id));
      return placed.length === 0 ? 0 : placed.reduce((sum, id) => sum + places.get(id).y, 0) / placed.length;
    };
    const wishes = new Map(column.map((node) => [node.id, wished(node)]));
    column.sort((a, b) => wishes.get(a.id) - wishes.get(b.id));
    for (let at = 0; at < column.length; at += TALL) {
      const part = column.slice(at, at + TALL);
      const width = Math.max(...part.map(widthOf));
      part.forEach((node, row) => places.set(node.id, { x: left + width / 2, y: (row - (part.length - 1) / 2) * ROW }));
      left += width + COLUMN_GAP;
    }
  }
  return { places, titles: [] };
}

// How many calls away from whoever nobody calls. Where calls run in circles, the one with the fewest callers left begins.
function ranksOf(nodes, edges) {
  const open = new Map(nodes.map((node) => [node.id, 0]));
  const callees = new Map();
  for (const { from, to } of edges) {
    if (from === to) continue;
    open.set(to, open.get(to) + 1);
    callees.set(from, [...(callees.get(from) ?? []), to]);
  }
  const ranks = new Map();
  const rank = (id) => ranks.get(id) ?? 0;
  const ready = nodes.map((node) => node.id).filter((id) => open.get(id) === 0);
  while (open.size > 0) {
    const id = ready.pop() ?? [...open].reduce((least, other) => (other[1] < least[1] ? other : least))[0];
    open.delete(id);
    ranks.set(id, rank(id));
    for (const to of callees.get(id) ?? []) {
      if (!open.has(to)) continue;
      ranks.set(to, Math.max(rank(to), rank(id) + 1));
      open.set(to, open.get(to) - 1);
      if (open.get(to) === 0) ready.push(to);
    }
  }
  return ranks;
}

function map({ nodes }) {
  const blocks = new Map();
  for (const node of nodes) {
    const name = node.namespace || 'outside the mesh';
    blocks.set(name, [...(blocks.get(name) ?? []), node]);
  }
  const cell = Math.max(...nodes.map(widthOf)) + 24;
  const sized = [...blocks].map(([name, members]) => {
    const columns = Math.max(1, Math.round(Math.sqrt((members.length * ROW * 1.6) / cell)));
    return { name, members, columns, width: columns * cell, height: Math.ceil(members.length / columns) * ROW };
  });
  // Rows of blocks, so long that all together is about as wide as a screen.
  const area = sized.reduce((sum, block) => sum + (block.width + 80) * (block.height + TITLE * 2), 0);
  const limit = Math.sqrt(area * 1.7);
  const places = new Map();
  const titles = [];
  let [x, y, tallest] = [0, 0, 0];
  for (const block of sized) {
    if (x > 0 && x + block.width > limit) [x, y, tallest] = [0, y + tallest + TITLE * 2, 0];
    // As large as there is room for: it is read from afar.
    const size = Math.min(TITLE, (1.5 * block.width) / block.name.length);
    titles.push({ name: block.name, size, x: x + block.width / 2 - cell / 2, y: y - ROW / 2 - size * 0.7 });
    block.members.forEach((node, at) => {
      places.set(node.id, { x: x + (at % block.columns) * cell, y: y + Math.floor(at / block.columns) * ROW });
    });
    x += block.width + 80;
    tallest = Math.max(tallest, block.height);
  }
  return { places, titles };
}
