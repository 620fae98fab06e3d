// Ranks over time: tasks as bars, blocks on their way as lines, the critical path, and what was planned.

const MOST_LINES = 3000; // transfers that are drawn, the largest ones
const view = {planned: false, lines: null, path: false, by: STEPS.size > 60 ? "operation" : "step", range: [0, 100], rows: null};

part(
  "timeline",
  "Timeline",
  section => {
    const hasPlan = TASKS.some(task => task.planned_seconds > 0 || task.planned_start > 0);
    if (!TASKS.some(task => task.ran) && !hasPlan) return section.append(h("p", {class: "empty"}, "No task has run yet."));
    if (view.lines === null) view.lines = TRANSFERS.length > 0 && TRANSFERS.length <= 400;
    const bar = h("div", {class: "bar"}),
      keys = h("div"),
      figure = h("div", {
        class: "chart grow",
        role: "img",
        tabindex: "0",
        "aria-label": "Timeline of ranks; plus and minus zoom, arrow keys move",
      });
    let plot = null;
    const draw = () => {
      disposeCharts(section);
      const colour = colours(COLOUR_KEYS[view.by][1]);
      keys.replaceChildren(legend([...colour.legend, ...(FAILED.length ? [["failed", palette.bad]] : [])]));
      plot = drawTimeline(figure, colour, draw);
      plot.highlight(selected);
    };
    const move = (zoom, shift) => {
      const [begin, end] = plot.range(),
        width = Math.min(100, (end - begin) * zoom),
        centre = (begin + end) / 2 + shift * (end - begin),
        first = Math.min(100 - width, Math.max(0, centre - width / 2));
      plot.setRange(first, first + width);
    };
    bar.append(
      choice(
        "Colour by",
        Object.entries(COLOUR_KEYS).map(([value, [text]]) => [value, text]),
        view.by,
        value => {
          view.by = value;
          draw();
        },
      ),
      hasPlan
        ? toggle("As planned", view.planned, on => {
            view.planned = on;
            draw();
          })
        : "",
      TRANSFERS.length
        ? toggle(`Transfers (${whole(TRANSFERS.length)})`, view.lines, on => {
            view.lines = on;
            draw();
          })
        : "",
      CRITICAL.length
        ? toggle("Critical path", view.path, on => {
            view.path = on;
            draw();
          })
        : "",
      h("span", {class: "push"}),
      h("span", {class: "quiet small"}, "Wheel: zoom. Drag: move. Shift and wheel: ranks."),
      button("−", () => move(2, 0), {"aria-label": "Zoom out"}),
      button("+", () => move(0.5, 0), {"aria-label": "Zoom in"}),
      button("Fit", () => {
        view.range = [0, 100];
        view.rows = null;
        draw();
      }),
    );
    section.append(bar, keys, figure);
    figure.addEventListener("keydown", event => {
      const how = {"+": [0.5, 0], "-": [2, 0], ArrowLeft: [1, -0.25], ArrowRight: [1, 0.25]}[event.key];
      if (how) {
        event.preventDefault();
        move(...how);
      }
    });
    draw();
    onSelect = what => plot.highlight(what);
  },
  {fill: true},
);

const COLOUR_KEYS = {
  step: ["step", task => task.step],
  operation: ["operation", task => task.operation || task.kind],
  kind: ["kind of task", task => task.kind],
};

function drawTimeline(figure, colour) {
  const planned = view.planned;
  const shown = TASKS.filter(task =>
    planned ? task.planned_rank >= 0 && task.kind !== "kept" : task.ran || task.state === "running",
  );
  const start = task => (planned ? task.planned_start : task.start),
    length = task => (planned ? task.planned_seconds : task.state === "running" ? SECONDS - task.start : task.seconds);
  const end = Math.max(
    1e-9,
    planned ? Math.max(DATA.predicted_seconds || 0, ...shown.map(task => start(task) + length(task))) : SECONDS,
  );
  const lines = planned ? [] : [...TRANSFERS].sort((a, b) => b.nbytes - a.nbytes).slice(0, MOST_LINES);
  let lit = new Set(),
    litLines = [];
  const height = api => Math.abs(api.size([0, 1])[1]);

  const renderTask = (params, api) => {
    const task = shown[api.value(3)],
      row = height(api),
      thick = Math.max(2, Math.min(26, row * 0.78)),
      [x0, y] = api.coord([api.value(0), api.value(2)]),
      [x1] = api.coord([api.value(1), api.value(2)]);
    const width = Math.max(1, x1 - x0),
      area = params.coordSys;
    const shape = echarts.graphic.clipRectByRect(
      {x: x0, y: y - thick / 2, width, height: thick},
      {x: area.x, y: area.y, width: area.width, height: area.height},
    );
    if (!shape) return;
    const failed = task.state === "failed" && !planned,
      faded =
        (lit.size && !lit.has(task.number)) || (view.path && !planned && !ON_PATH.has(task.number) && !lit.has(task.number));
    const gap = width > 3 ? 0.6 : 0,
      style = {fill: failed ? palette.bad : colour.of(task), opacity: faded ? 0.22 : 1};
    const children = [
      {
        type: "rect",
        shape: {...shape, width: Math.max(0.8, shape.width - gap), r: width > 6 && thick > 7 ? 2 : 0},
        style: lit.has(task.number) || failed ? {...style, stroke: palette.ink, lineWidth: 1.5} : style,
      },
    ];
    if (width > 46 && thick >= 13 && !faded)
      children.push({
        type: "text",
        silent: true,
        style: {
          text: (failed ? "✕ " : "") + task.name,
          x: shape.x + 5,
          y,
          verticalAlign: "middle",
          width: shape.width - 10,
          overflow: "truncate",
          ellipsis: "…",
          fill: failed ? "#fff" : ink(colour.of(task)),
          font: `${Math.min(12, thick - 3)}px ${palette.font}`,
        },
      });
    return {type: "group", children};
  };
  const renderLine = (params, api) => {
    const [x0, y0] = api.coord([api.value(0), api.value(1)]),
      [x1, y1] = api.coord([api.value(2), api.value(3)]),
      hot = api.value(4) === 1,
      color = hot ? palette.ink : palette.soft;
    const angle = Math.atan2(y1 - y0, x1 - x0),
      size = hot ? 7 : 5,
      wing = turn => [x1 - size * Math.cos(angle + turn), y1 - size * Math.sin(angle + turn)];
    return {
      type: "group",
      silent: true,
      children: [
        {
          type: "line",
          shape: {x1: x0, y1: y0, x2: x1, y2: y1},
          style: {stroke: color, lineWidth: hot ? 1.6 : 0.8, opacity: hot ? 1 : faint},
        },
        {type: "polygon", shape: {points: [[x1, y1], wing(0.42), wing(-0.42)]}, style: {fill: color, opacity: hot ? 1 : faint}},
      ],
    };
  };
  const faint = Math.max(0.15, Math.min(0.6, 12 / Math.sqrt(lines.length + 1))); // many lines hide what is behind them
  const pathLines = () =>
    view.path && !planned
      ? CRITICAL.filter(item => item.after !== null && TASKS[item.after].rank !== TASKS[item.task].rank).map(item => [
          TASKS[item.after].end,
          TASKS[item.after].rank,
          TASKS[item.task].start,
          TASKS[item.task].rank,
          1,
        ])
      : [];
  const lineData = () => [
    ...(view.lines ? lines.map(one => [one.left, one.source, one.came, one.rank, 0]) : []),
    ...litLines,
    ...pathLines(),
  ];
  const series = () => [
    {
      type: "custom",
      id: "tasks",
      clip: true,
      renderItem: renderTask,
      encode: {x: [0, 1], y: 2},
      data: shown.map((task, place) => [start(task), start(task) + length(task), planned ? task.planned_rank : task.rank, place]),
      progressive: 0,
    },
    {
      type: "custom",
      id: "lines",
      clip: true,
      silent: true,
      renderItem: renderLine,
      encode: {x: [0, 2], y: [1, 3]},
      data: lineData(),
      z: 4,
      progressive: 0,
    },
  ];
  const rows = HOSTS.map((_, rank) => String(rank)),
    many = NUM_RANKS > 96;
  const rowRange = view.rows || (many ? [0, (100 * 96) / NUM_RANKS] : [0, 100]);
  const made = chart(
    figure,
    {
      grid: {left: 66, right: many ? 34 : 16, top: 8, bottom: 64},
      xAxis: axis({
        type: "value",
        min: 0,
        max: end,
        axisLabel: {formatter: value => tick(value, end), showMaxLabel: false},
        splitNumber: 8,
      }),
      yAxis: axis({
        type: "category",
        data: rows,
        inverse: true,
        name: "rank",
        nameLocation: "middle",
        nameGap: 44,
        splitLine: {show: false},
        axisLabel: {interval: "auto", padding: [3, 0]},
      }),
      dataZoom: [
        zoomBar({
          id: "bar",
          xAxisIndex: 0,
          start: view.range[0],
          end: view.range[1],
          filterMode: "weakFilter",
          left: 66,
          right: many ? 34 : 16,
        }),
        {
          type: "inside",
          id: "wheel",
          xAxisIndex: 0,
          filterMode: "weakFilter",
          zoomOnMouseWheel: true,
          moveOnMouseMove: true,
          minSpan: 0.005,
        },
        ...(many
          ? [
              zoomBar({
                id: "rows",
                yAxisIndex: 0,
                orient: "vertical",
                width: 14,
                height: null,
                bottom: 64,
                top: 8,
                right: 6,
                filterMode: "weakFilter",
                start: rowRange[0],
                end: rowRange[1],
              }),
            ]
          : []),
        {
          type: "inside",
          id: "rowwheel",
          yAxisIndex: 0,
          filterMode: "weakFilter",
          zoomOnMouseWheel: "shift",
          moveOnMouseMove: many,
          start: rowRange[0],
          end: rowRange[1],
        },
      ],
      tooltip: tooltip(item => (item.seriesId === "tasks" ? taskTip(shown[item.value[3]], planned) : "")),
      series: series(),
    },
    "Timeline of all ranks",
  );
  made.on("click", {seriesId: "tasks"}, item => select({task: shown[item.value[3]].number}));
  made.on("datazoom", () => {
    const zooms = made.getOption().dataZoom;
    view.range = [zooms[0].start, zooms[0].end];
    view.rows = [zooms.at(-1).start, zooms.at(-1).end];
  });
  return {
    range: () => view.range,
    setRange: (first, last) => made.dispatchAction({type: "dataZoom", dataZoomIndex: 0, start: first, end: last}),
    highlight(what) {
      lit = new Set(
        !what
          ? []
          : "task" in what
            ? [what.task]
            : (STEPS.get(what.step ?? what.dataset) || {tasks: []}).tasks.map(task => task.number),
      );
      litLines = what && "task" in what && !planned ? linesOf(TASKS[what.task]) : [];
      made.setOption({series: series()});
    },
  };
}

// What came to a task from other ranks, and where its block went: as it was noted, else from task to task.
function linesOf(task) {
  const noted = TRANSFERS.filter(
    one => (one.rank === task.rank && task.needs.includes(one.block)) || one.block === task.number,
  ).map(one => [one.left, one.source, one.came, one.rank, 1]);
  if (noted.length || !task.ran) return noted;
  const pairs = [...task.needs.map(need => [TASKS[need], task]), ...task.consumers.map(number => [task, TASKS[number]])];
  return pairs.filter(([a, b]) => a.ran && b.ran && a.rank !== b.rank).map(([a, b]) => [a.end, a.rank, b.start, b.rank, 1]);
}

function tick(value, end) {
  const span = (end * (view.range[1] - view.range[0])) / 100,
    unit = end < 1e-3 ? [1e6, "µs"] : end < 1 ? [1e3, "ms"] : end < 600 ? [1, "s"] : [1 / 60, "min"];
  const digits = Math.max(0, Math.min(6, Math.ceil(-Math.log10((span * unit[0]) / 10))));
  return `${+(value * unit[0]).toFixed(digits)} ${unit[1]}`;
}

function ink(color) {
  // dark or light, whichever is read better on a colour
  const [red, green, blue] = [1, 3, 5]
    .map(place => parseInt(color.slice(place, place + 2), 16) / 255)
    .map(part => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.2 ? "#10151c" : "#ffffff";
}

function taskTip(task, planned) {
  const waited = task.needs
    .map(need => TASKS[need])
    .filter(one => one.ran)
    .reduce((last, one) => Math.max(last, one.end), 0);
  return planned
    ? tip(
        task.name,
        `task #${task.number}, planned for rank ${task.planned_rank}`,
        `${seconds(task.planned_seconds)} from ${seconds(task.planned_start)} on`,
        task.ran ? `took ${seconds(task.seconds)} on rank ${task.rank}` : task.state,
      )
    : tip(
        task.name,
        `task #${task.number} · ${task.operation || task.kind} · rank ${task.rank} on ${HOSTS[task.rank]}`,
        `${seconds(task.seconds)} from ${seconds(task.start)} on${task.planned_seconds ? `, predicted ${seconds(task.planned_seconds)}` : ""}`,
        task.needs.length && task.ran ? `began ${seconds(Math.max(0, task.start - waited))} after its last input was made` : "",
        task.nbytes ? `made ${bytes(task.nbytes)}` : "",
        task.state !== "done" ? task.state : "",
      );
}
