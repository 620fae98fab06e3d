// The critical path, and what was predicted against what happened.

part("critical", "Critical path", section => {
  if (!CRITICAL.length) return section.append(h("p", {class: "empty"}, "No task has run yet."));
  const rows = CRITICAL.map(item => ({...item, of: TASKS[item.task]})),
    computing = sum(rows, row => row.of.seconds);
  const gaps = {
    data: sum(
      rows.filter(row => row.why === "data"),
      row => row.gap,
    ),
    rank: sum(
      rows.filter(row => row.why === "rank"),
      row => row.gap,
    ),
    start: sum(
      rows.filter(row => row.why === "start"),
      row => row.gap,
    ),
  };
  const last = rows.at(-1).of,
    tail = Math.max(0, SECONDS - last.end),
    colour = STEP_COLOURS();
  const share = (name, value, color) => [name, value, `${seconds(value)} · ${percent(value / SECONDS)}`, color];
  const steps = new Map();
  for (const row of rows) steps.set(row.of.step, (steps.get(row.of.step) || 0) + row.of.seconds);
  const why = {
    data: row => [
      "its input ",
      link(TASKS[row.after].name, () => select({task: row.after})),
      TASKS[row.after].rank !== row.of.rank ? ` from rank ${TASKS[row.after].rank}` : "",
    ],
    rank: () => "its rank to be free",
    start: () => "nothing",
  };
  section.append(
    h(
      "p",
      {class: "note"},
      `The run ended with ${last.name}. Back from there, task by task, along what each had waited for last: ${many(rows.length, "task")}. To make the run shorter, one of these must become shorter or start earlier.`,
    ),
    h(
      "div",
      {class: "halves"},
      block(
        "Time along the path",
        bars(
          [
            share("computing", computing, palette.series[0]),
            share("until input was there", gaps.data, palette.series[1]),
            share("between tasks of a rank", gaps.rank, palette.series[2]),
            share("before the first", gaps.start, palette.series[7]),
            share("after the last", tail, palette.series[7]),
          ].filter(row => row[1] > 0),
        ),
      ),
      block(
        "Steps on the path",
        bars(
          [...steps.entries()]
            .sort((a, b) => b[1] - a[1])
            .slice(0, 8)
            .map(([name, value]) => [
              link(name, () => select({step: name})),
              value,
              seconds(value),
              colour.of(STEPS.get(name).tasks[0]),
            ]),
        ),
      ),
    ),
    h(
      "div",
      {class: "bar"},
      button("Show on the timeline", () => {
        view.path = true;
        show("timeline");
      }),
    ),
    table(
      [
        {title: "Start", num: true, cell: row => seconds(row.of.start), key: row => row.of.start},
        {title: "Task", cell: row => link(row.of.name, () => select({task: row.task})), key: row => row.of.name},
        {title: "Rank", num: true, cell: row => row.of.rank, key: row => row.of.rank},
        {title: "Took", num: true, cell: row => seconds(row.of.seconds), key: row => row.of.seconds},
        {
          title: "Predicted",
          num: true,
          cell: row => (row.of.planned_seconds ? seconds(row.of.planned_seconds) : "–"),
          key: row => row.of.planned_seconds,
        },
        {title: "Gap before", num: true, cell: row => seconds(row.gap), key: row => row.gap},
        {title: "Waited for", style: "quiet", cell: row => why[row.why](row), key: row => row.why},
      ],
      rows,
      {most: 60},
    ),
  );
});

part("accuracy", "Predicted", section => {
  const known = TASKS.filter(task => task.ran && task.planned_seconds > 0 && task.seconds > 0);
  const compare = (label, predicted, actual, write) =>
    h(
      "div",
      {},
      h("div", {class: "label"}, label),
      h("div", {class: "value"}, write(actual)),
      h("div", {class: "more"}, `predicted ${write(predicted)}${predicted ? `, ${times(actual / predicted)}` : ""}`),
    );
  const planBusy = sum(known, task => task.planned_seconds),
    busy = sum(known, task => task.seconds),
    elsewhere = TASKS.filter(task => task.ran && task.planned_rank >= 0 && task.rank !== task.planned_rank).length;
  section.append(
    h(
      "div",
      {class: "figures"},
      compare("Time", DATA.predicted_seconds || 0, SECONDS, seconds),
      compare("Work of all tasks", planBusy, busy, seconds),
      compare("Moved between ranks", DATA.predicted_bytes || 0, MOVED, bytes),
      h(
        "div",
        {},
        h("div", {class: "label"}, "Ran elsewhere than planned"),
        h("div", {class: "value"}, whole(elsewhere)),
        h(
          "div",
          {class: "more"},
          `of ${many(TASKS.length, "task")}; planned ${(DATA.num_plans || 1) > 1 ? `${DATA.num_plans} times` : "once"}`,
        ),
      ),
    ),
  );
  if (!known.length)
    return section.append(h("p", {class: "empty"}, "There are no tasks that have run and whose time was predicted."));
  const figure = h("div", {class: "chart", style: "height:max(420px,calc(100vh - 320px))"}),
    colour = STEP_COLOURS();
  const steps = [...STEPS.values()]
    .map(step => ({step, tasks: step.tasks.filter(task => task.ran && task.planned_seconds > 0)}))
    .filter(row => row.tasks.length)
    .map(row => ({
      ...row,
      predicted: sum(row.tasks, task => task.planned_seconds),
      actual: sum(row.tasks, task => task.seconds),
    }));
  section.append(
    h(
      "div",
      {class: "halves"},
      block("Time of each task", legend(colour.legend), figure),
      block(
        "Time of each step",
        table(
          [
            {
              title: "Step",
              style: "name",
              cell: row => link(row.step.name, () => select({step: row.step.name})),
              key: row => row.step.name,
            },
            {title: "Tasks", num: true, cell: row => whole(row.tasks.length), key: row => row.tasks.length},
            {title: "Predicted", num: true, cell: row => seconds(row.predicted), key: row => row.predicted},
            {title: "Took", num: true, cell: row => seconds(row.actual), key: row => row.actual},
            {
              title: "Ratio",
              num: true,
              cell: row => times(row.actual / row.predicted),
              key: row => row.actual / row.predicted,
            },
            {
              title: "Difference",
              num: true,
              cell: row => `${row.actual < row.predicted ? "−" : "+"}${seconds(Math.abs(row.actual - row.predicted))}`,
              key: row => Math.abs(row.actual - row.predicted),
            },
          ],
          steps,
          {sort: 5, most: 20},
        ),
      ),
    ),
  );
  const values = known.flatMap(task => [task.planned_seconds, task.seconds]),
    low = 10 ** Math.floor(Math.log10(Math.min(...values))),
    high = 10 ** Math.ceil(Math.log10(Math.max(...values)));
  const logs = more =>
    axis({
      type: "log",
      min: low,
      max: high === low ? low * 10 : high,
      axisLabel: {formatter: value => seconds(value).replace(".00", "").replace(".0 ", " ")},
      nameLocation: "middle",
      ...more,
    });
  const plot = chart(
    figure,
    {
      grid: {left: 84, right: 18, top: 10, bottom: 50},
      xAxis: logs({name: "predicted", nameGap: 30}),
      yAxis: logs({name: "took", nameGap: 62}),
      tooltip: tooltip(item => (item.seriesType === "scatter" ? taskTip(known[item.dataIndex]) : "")),
      series: [
        {
          type: "line",
          silent: true,
          showSymbol: false,
          data: [
            [low, low],
            [high, high],
          ],
          lineStyle: {color: palette.strong, width: 1.5, type: "dashed"},
          tooltip: {show: false},
        },
        {
          type: "scatter",
          symbolSize: 6,
          data: known.map(task => ({
            value: [task.planned_seconds, task.seconds],
            itemStyle: {
              color: task.state === "failed" ? palette.bad : colour.of(task),
              opacity: known.length > 400 ? 0.55 : 0.85,
            },
          })),
        },
      ],
    },
    "Predicted against actual time of each task",
  );
  plot.on("click", item => item.seriesType === "scatter" && select({task: known[item.dataIndex].number}));
});
