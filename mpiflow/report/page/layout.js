// A layered drawing of a DAG (Sugiyama, Tagawa, Toda 1981): layers by longest path, order by barycentres, places by least squares.
// Thousands of nodes in a fraction of a second, which the libraries at hand do not reach.

// nodes: [{width, height}], edges: [[from, to]]; from left to right, or from top to bottom. Sets x and y of each node, and gives
// the points of each edge.
function layered(nodes, edges, downwards) {
  const across = downwards ? 46 : 56,
    between = downwards ? 22 : 14;
  const [along, beside] = downwards ? ["height", "width"] : ["width", "height"];
  const layers = layersOf(nodes, edges);
  const items = nodes.map((node, number) => ({
    number,
    layer: layers[number],
    height: node[beside] + between,
    before: [],
    after: [],
    weight: 1,
  }));
  const chains = edges.map(([from, to]) => chain(items, from, to));
  const rows = [];
  for (const item of items) (rows[item.layer] = rows[item.layer] || []).push(item);
  order(rows, items.length > 3000 ? 4 : 12);
  place(rows, items.length > 3000 ? 4 : 10);
  let x = 0;
  const lefts = rows.map(row => {
    const left = x,
      width = Math.max(0, ...row.filter(item => item.number !== undefined).map(item => nodes[item.number][along]));
    x += width + across;
    return {left, width};
  });
  for (const item of items)
    if (item.number !== undefined) {
      const node = nodes[item.number],
        layer = lefts[item.layer].left,
        place = item.y - node[beside] / 2;
      [node.x, node.y] = downwards ? [place, layer] : [layer, place];
    }
  const turned = (along, beside) => (downwards ? [beside, along] : [along, beside]);
  const ends = node =>
    downwards
      ? [
          [node.x + node.width / 2, node.y],
          [node.x + node.width / 2, node.y + node.height],
        ]
      : [
          [node.x, node.y + node.height / 2],
          [node.x + node.width, node.y + node.height / 2],
        ];
  return edges.map(([from, to], number) => [
    ends(nodes[from])[1],
    ...chains[number].flatMap(item => {
      const {left, width} = lefts[item.layer];
      return [turned(left, item.y), turned(left + width, item.y)];
    }),
    ends(nodes[to])[0],
  ]);
}

function layersOf(nodes, edges) {
  const after = nodes.map(() => []),
    waiting = nodes.map(() => 0),
    layers = nodes.map(() => 0);
  for (const [from, to] of edges) {
    after[from].push(to);
    waiting[to]++;
  }
  const inputs = [...waiting],
    ready = nodes.map((_, number) => number).filter(number => !waiting[number]),
    sorted = [];
  while (ready.length) {
    const number = ready.pop();
    sorted.push(number);
    for (const next of after[number]) {
      layers[next] = Math.max(layers[next], layers[number] + 1);
      if (!--waiting[next]) ready.push(next);
    }
  }
  // What nothing leads to stands beside what reads it first.
  for (const number of sorted)
    if (!inputs[number] && after[number].length) layers[number] = Math.min(...after[number].map(next => layers[next])) - 1;
  const used = [...new Set(layers)].sort((a, b) => a - b),
    places = new Map(used.map((layer, index) => [layer, index]));
  return layers.map(layer => places.get(layer));
}

// The box around nodes: left, right, top, bottom.
const boxOf = nodes => [
  Math.min(...nodes.map(node => node.x)),
  Math.max(...nodes.map(node => node.x + node.width)),
  Math.min(...nodes.map(node => node.y)),
  Math.max(...nodes.map(node => node.y + node.height)),
];

// An edge over several layers gets a point in each of them, so that nodes make way for it.
function chain(items, from, to) {
  const between = [];
  let last = items[from];
  for (let layer = items[from].layer + 1; layer < items[to].layer; layer++) {
    const point = {layer, height: 9, before: [last], after: [], weight: 4};
    last.after.push(point);
    items.push(point);
    between.push(point);
    last = point;
  }
  last.after.push(items[to]);
  items[to].before.push(last);
  return between;
}

function order(rows, sweeps) {
  for (const row of rows)
    row.forEach((item, index) => {
      item.rank = index;
    });
  for (let sweep = 0; sweep < sweeps; sweep++) {
    const down = sweep % 2 === 0,
      sequence = down ? rows : [...rows].reverse();
    for (const row of sequence) {
      for (const item of row) {
        const near = down ? item.before : item.after;
        item.want = near.length
          ? sum(near, one => one.rank / (rows[one.layer].length || 1)) / near.length
          : item.rank / row.length;
      }
      row.sort((a, b) => a.want - b.want || a.rank - b.rank);
      row.forEach((item, index) => {
        item.rank = index;
      });
    }
  }
}

function place(rows, sweeps) {
  for (const row of rows) {
    let y = 0;
    for (const item of row) {
      item.y = y + item.height / 2;
      y += item.height;
    }
    for (const item of row) item.y -= y / 2;
  }
  for (let sweep = 0; sweep < sweeps; sweep++) {
    const sequence = sweep % 2 ? [...rows].reverse() : rows;
    for (const row of sequence) {
      const near = item => (sweep % 2 ? item.after : item.before),
        all = item => [...item.before, ...item.after];
      spreadOut(
        row,
        row.map(item => {
          const list = sweep >= sweeps - 2 ? all(item) : near(item);
          return list.length ? sum(list, one => one.y) / list.length : item.y;
        }),
      );
    }
  }
}

// The places nearest to the wanted ones at which nothing overlaps: pools of neighbours that push each other (isotonic regression).
function spreadOut(row, wanted) {
  const pools = [];
  let offset = 0;
  row.forEach((item, index) => {
    const shift = offset + item.height / 2;
    offset += item.height;
    pools.push({total: (wanted[index] - shift) * item.weight, weight: item.weight, items: [[item, shift]]});
    while (pools.length > 1 && pools.at(-2).total / pools.at(-2).weight > pools.at(-1).total / pools.at(-1).weight) {
      const last = pools.pop(),
        before = pools.at(-1);
      before.total += last.total;
      before.weight += last.weight;
      before.items.push(...last.items);
    }
  });
  for (const pool of pools) for (const [item, shift] of pool.items) item.y = pool.total / pool.weight + shift;
}
