// The drawing of the graph: it can be zoomed and moved, and shows what is selected.

part(
  "workflow",
  "Workflow",
  section => {
    const bar = h("div", {class: "bar"}),
      figure = h("div", {
        class: "chart grow",
        tabindex: "0",
        role: "application",
        "aria-label": "Graph of the workflow; arrow keys move it, plus and minus zoom",
      });
    const say = h("span", {class: "quiet"});
    let view = null;
    const draw = () => {
      disposeCharts(section);
      const shown = visibleNodes();
      view = drawGraph(figure, shown, draw);
      say.textContent = `${many(shown.nodes.length, "node")}, ${many(shown.edges.length, "edge")}`;
    };
    const openable = [...STEPS.values()].filter(step => step.tasks.length > 1 && step.tasks.length <= 60);
    bar.append(
      button("−", () => view.zoom(0.7), {"aria-label": "Zoom out"}),
      button("+", () => view.zoom(1.4), {"aria-label": "Zoom in"}),
      button("Fit", () => view.fit()),
      say,
      h("span", {class: "push"}),
      button("Close all", () => {
        opened.clear();
        draw();
      }),
      openable.length
        ? button("Open all small steps", () => {
            for (const step of openable) opened.add(step.name);
            draw();
          })
        : "",
    );
    const key = (color, word) => h("span", {}, h("i", {class: "swatch", style: `background:${color}`}), word);
    section.append(
      bar,
      h(
        "div",
        {class: "legend"},
        key(palette.good, "done"),
        key(palette.bad, "failed"),
        key(palette.accent, "running"),
        key(palette.strong, "not run"),
        h("span", {}, "Click: details. Double click on a node with several tasks: open it. Wheel: zoom, drag: move."),
      ),
      figure,
    );
    figure.addEventListener("keydown", event => {
      const move = {ArrowLeft: [-60, 0], ArrowRight: [60, 0], ArrowUp: [0, -60], ArrowDown: [0, 60]}[event.key];
      if (move) {
        event.preventDefault();
        view.move(...move);
      } else if (event.key === "+" || event.key === "-") view.zoom(event.key === "+" ? 1.4 : 0.7);
      else if (event.key === "Enter" && selected && selected.step && STEPS.get(selected.step).tasks.length > 1) {
        opened.has(selected.step) ? opened.delete(selected.step) : opened.add(selected.step);
        draw();
      }
    });
    draw();
    onSelect = what => view.highlight(what);
    view.highlight(selected, true);
  },
  {fill: true},
);

function drawGraph(figure, {nodes, edges}, redraw) {
  const room = ([left, right, top, bottom]) =>
    Math.min((figure.clientWidth - 30) / (right - left), (figure.clientHeight - 30) / (bottom - top));
  let downwards = false,
    points = layered(nodes, edges, false),
    box = boxOf(nodes),
    lit = null;
  const wide = room(box);
  if (wide < 1) {
    // as large as it can be: the other way round, if that is better
    const others = layered(nodes, edges, true);
    if (room(boxOf(nodes)) > wide) [downwards, points] = [true, others];
    else layered(nodes, edges, false);
    box = boxOf(nodes);
  }
  const [left, right, top, bottom] = box;
  // The frame into the drawing: its centre, and pixels for each unit.
  const size = () => [figure.clientWidth, figure.clientHeight];
  const frame = {x: 0, y: 0, scale: 1};
  const fit = () => {
    Object.assign(frame, {x: (left + right) / 2, y: (top + bottom) / 2, scale: Math.min(1.25, room(box))});
  };
  // At first no smaller than can be read; then from the beginning on.
  const begin = () => {
    fit();
    if (frame.scale >= READABLE) return;
    const [width, height] = size();
    frame.scale = READABLE;
    if (downwards) frame.y = top + height / 2 / READABLE - 20;
    else frame.x = left + width / 2 / READABLE - 20;
  };
  begin();
  const bounds = () => {
    const [width, height] = size();
    return [
      frame.x - width / 2 / frame.scale,
      frame.x + width / 2 / frame.scale,
      frame.y - height / 2 / frame.scale,
      frame.y + height / 2 / frame.scale,
    ];
  };
  const axes = () => {
    const [x0, x1, y0, y1] = bounds();
    return {
      xAxis: {type: "value", min: x0, max: x1, show: false},
      yAxis: {type: "value", min: y0, max: y1, inverse: true, show: false},
    };
  };
  const near = place => lit === null || place === lit;
  const touches = edge => lit !== null && (edge[0] === lit || edge[1] === lit);
  const neighbours = () => new Set(edges.filter(touches).flat());
  let around = new Set();

  const renderNode = (params, api) => {
    const node = nodes[params.dataIndex],
      [x, y] = api.coord([node.x, node.y]),
      scale = frame.scale,
      width = node.width * scale,
      height = node.height * scale;
    if (x + width < 0 || y + height < 0 || x > figure.clientWidth || y > figure.clientHeight) return;
    const dim = lit !== null && !near(params.dataIndex) && !around.has(params.dataIndex),
      radius = (node.role === "dataset" ? 22 : node.role === "file" ? 2 : 7) * scale;
    const children = [
      {
        type: "rect",
        shape: {x, y, width, height, r: radius},
        style: {
          fill: params.dataIndex === lit ? palette.tint : palette.paper,
          stroke: params.dataIndex === lit ? palette.accent : node.state === "failed" ? palette.bad : palette.strong,
          lineWidth: params.dataIndex === lit || node.state === "failed" ? 2 : 1,
        },
      },
    ];
    if (node.parts)
      children.unshift({
        type: "rect",
        shape: {x: x + 4 * scale, y: y + 4 * scale, width, height, r: radius},
        style: {fill: palette.raised, stroke: palette.strong, lineWidth: 1},
      });
    children.push({
      type: "circle",
      shape: {cx: x + 15 * scale, cy: y + 16 * scale, r: Math.max(1.5, 4 * scale)},
      style: {fill: ["planned", "cancelled", "skipped"].includes(node.state) ? palette.strong : stateColor(node.state)},
    });
    if (scale > 0.36) {
      const text = (words, dy, size, color, weight) => ({
        type: "text",
        silent: true,
        style: {
          text: words,
          x: x + 26 * scale,
          y: y + dy * scale,
          fill: color,
          font: `${weight} ${size * scale}px ${palette.font}`,
          width: width - 36 * scale,
          overflow: "truncate",
          ellipsis: "…",
          verticalAlign: "middle",
        },
      });
      children.push(text(node.title, 16, 12.5, palette.ink, 600), text(node.more, 32, 11, palette.soft, 400));
    }
    return {type: "group", children: dim ? children.map(child => ({...child, style: {...child.style, opacity: 0.3}})) : children};
  };
  const renderEdge = (params, api) => {
    const hot = touches(edges[params.dataIndex]),
      corners = points[params.dataIndex].map(point => api.coord(point));
    let path = `M${corners[0][0]} ${corners[0][1]}`;
    for (let place = 1; place < corners.length; place++) {
      const [x0, y0] = corners[place - 1],
        [x1, y1] = corners[place],
        dx = (x1 - x0) / 2,
        dy = (y1 - y0) / 2;
      path += downwards ? `C${x0} ${y0 + dy} ${x1} ${y1 - dy} ${x1} ${y1}` : `C${x0 + dx} ${y0} ${x1 - dx} ${y1} ${x1} ${y1}`;
    }
    return {
      type: "path",
      shape: {pathData: path},
      silent: true,
      style: {
        fill: "none",
        stroke: hot ? palette.accent : palette.faint,
        lineWidth: hot ? 2 : Math.max(0.6, Math.min(1.2, frame.scale)),
        opacity: hot ? 1 : lit !== null ? 0.25 : 0.75,
      },
    };
  };
  const series = () => [
    {
      type: "custom",
      id: "edges",
      silent: true,
      data: edges.map((_, place) => [0, 0, place]),
      renderItem: renderEdge,
      clip: true,
      encode: {x: 0, y: 1},
      progressive: 0,
    },
    {
      type: "custom",
      id: "nodes",
      data: nodes.map(node => [node.x, node.y]),
      renderItem: renderNode,
      clip: true,
      encode: {x: 0, y: 1},
      progressive: 0,
      z: 3,
    },
  ];
  const made = chart(
    figure,
    {
      grid: {left: 0, right: 0, top: 0, bottom: 0},
      ...axes(),
      series: series(),
      tooltip: tooltip(item => (item.seriesId === "nodes" ? nodeTip(nodes[item.dataIndex]) : "")),
    },
    "Graph of the workflow",
  );
  const redrawView = () => made.setOption({...axes(), series: series()});
  const zoom = (factor, at) => {
    const [width, height] = size(),
      [px, py] = at || [width / 2, height / 2],
      before = [frame.x + (px - width / 2) / frame.scale, frame.y + (py - height / 2) / frame.scale];
    frame.scale = Math.min(3, Math.max(Math.min(0.02, frame.scale), frame.scale * factor));
    frame.x = before[0] - (px - width / 2) / frame.scale;
    frame.y = before[1] - (py - height / 2) / frame.scale;
    redrawView();
  };
  const move = (dx, dy) => {
    frame.x += dx / frame.scale;
    frame.y += dy / frame.scale;
    redrawView();
  };
  watchPointer(made.getZr(), zoom, move);
  made.on("click", {seriesId: "nodes"}, item => select(nodes[item.dataIndex].go));
  made.on("dblclick", {seriesId: "nodes"}, item => {
    const node = nodes[item.dataIndex];
    if (node.parts) {
      opened.add(node.parts);
      redraw();
    }
  });
  made.on("rendered", () => {
    if (made.getWidth() !== frame.width) {
      frame.width = made.getWidth();
      made.setOption(axes());
    }
  });
  const find = what => {
    if (!what) return null;
    const place = nodes.findIndex(node =>
      "task" in what
        ? node.tasks.some(task => task.number === what.task)
        : node.go.step === (what.step ?? what.dataset) || node.tasks.some(task => task.step === (what.step ?? what.dataset)),
    );
    return place < 0 ? null : place;
  };
  return {
    zoom,
    move,
    fit: () => {
      fit();
      redrawView();
    },
    highlight(what, centre = false) {
      lit = find(what);
      around = lit === null ? new Set() : neighbours();
      if (lit !== null && centre && frame.scale < 0.5) frame.scale = 0.9;
      if (lit !== null && centre) {
        frame.x = nodes[lit].x + nodes[lit].width / 2;
        frame.y = nodes[lit].y + nodes[lit].height / 2;
      }
      redrawView();
    },
  };
}

const nodeTip = node =>
  tip(
    node.title,
    node.more,
    `${seconds(sum(node.tasks, task => (task.ran ? task.seconds : 0)))} of work, ${bytes(sum(node.tasks, task => (task.ran ? task.nbytes : 0)))} made`,
    Object.entries(count(node.tasks, task => task.state))
      .map(([state, num]) => `${whole(num)} ${state}`)
      .join(", "),
    node.parts ? "double click to open" : "",
  );

function watchPointer(surface, zoom, move) {
  let last = null;
  surface.on("mousewheel", event => {
    event.event.preventDefault();
    zoom(event.wheelDelta > 0 ? 1.18 : 1 / 1.18, [event.offsetX, event.offsetY]);
  });
  surface.on("mousedown", event => {
    last = [event.offsetX, event.offsetY];
  });
  surface.on("mousemove", event => {
    if (last) {
      move(last[0] - event.offsetX, last[1] - event.offsetY);
      last = [event.offsetX, event.offsetY];
    }
  });
  for (const name of ["mouseup", "globalout"])
    surface.on(name, () => {
      last = null;
    });
}
