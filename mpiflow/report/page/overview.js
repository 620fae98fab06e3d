// The first part: what happened, in figures; what went wrong; where the time went; all steps.

function figures() {
  const ran = TASKS.filter(task => task.ran),
    left = TASKS.length - TASKS.filter(task => task.state === "done").length;
  const peaks = DATA.peak_memory || [],
    peak = Math.max(0, ...peaks);
  const figure = (label, value, more) =>
    h(
      "div",
      {},
      h("div", {class: "label"}, label),
      h("div", {class: "value"}, value),
      h("div", {class: "more"}, more || "\u00a0"),
    );
  const share = NUM_RANKS && SECONDS ? BUSY / (NUM_RANKS * SECONDS) : 0;
  return h(
    "div",
    {class: "figures"},
    figure(
      RUNNING ? "Running for" : "Time",
      seconds(SECONDS),
      DATA.predicted_seconds ? `predicted ${seconds(DATA.predicted_seconds)}` : "",
    ),
    figure(
      "Tasks",
      whole(TASKS.length),
      FAILED.length
        ? h("span", {class: "bad"}, `${whole(FAILED.length)} failed, ${whole(left - FAILED.length)} not run`)
        : left
          ? `${whole(left)} left`
          : "all done",
    ),
    figure("Ranks busy", percent(share), `${seconds(BUSY)} of work in ${many(ran.length, "task")}`),
    figure(
      "Moved between ranks",
      bytes(MOVED),
      DATA.predicted_bytes !== undefined ? `predicted ${bytes(DATA.predicted_bytes)}` : "",
    ),
    peak ? figure("Most memory", bytes(peak), `on rank ${peaks.indexOf(peak)}`) : null,
    figure(
      "Planned",
      (DATA.num_plans || 1) > 1 ? `${DATA.num_plans} times` : "once",
      DATA.plan ? h("code", {}, DATA.plan.slice(0, 12)) : "",
    ),
  );
}

function failureAlert() {
  if (!FAILED.length) return null;
  const first = FAILED[0];
  return h(
    "div",
    {class: "alert", role: "alert"},
    h("span", {class: "mark failed"}, "✕"),
    h(
      "div",
      {},
      h("b", {}, first.name),
      ` failed on rank ${first.rank} (${HOSTS[first.rank]}): `,
      h("code", {}, reasonOf(first.error)),
      FAILED.length > 1 ? ` · and ${many(FAILED.length - 1, "more")}` : "",
    ),
    button("Show tracebacks", () => show("failures")),
  );
}

function reasonOf(error) {
  const lines = error
    .trim()
    .split("\n")
    .filter(line => !line.startsWith("(the last of"));
  return (lines[0] || "").startsWith("Traceback") ? lines[lines.length - 1] : lines[0] || "";
}

function stepTable() {
  const steps = [...STEPS.values()],
    longest = Math.max(1e-30, ...steps.map(step => step.busy)),
    colour = STEP_COLOURS();
  return table(
    [
      {title: "Step", style: "name", cell: step => link(step.name, () => select({step: step.name})), key: step => step.name},
      {
        title: "Operation",
        style: "quiet",
        cell: step => step.operations.slice(0, 2).join(", ") + (step.operations.length > 2 ? " …" : "") || step.role,
        key: step => step.operations[0] || step.role,
      },
      {title: "State", style: "nowrap", cell: step => mark(step.state, step.state), key: step => step.state},
      {title: "Tasks", num: true, cell: step => whole(step.tasks.length), key: step => step.tasks.length},
      {title: "Ranks", style: "quiet", cell: step => ranges(step.ranks) || "–", key: step => step.ranks.length},
      {title: "Busy", num: true, cell: step => seconds(step.busy), key: step => step.busy},
      {title: "", cell: step => meter([[step.busy / longest, colour.of(step.tasks[0])]])},
      {
        title: "Predicted",
        num: true,
        cell: step => (step.predicted ? seconds(step.predicted) : "–"),
        key: step => step.predicted,
      },
      {title: "Made", num: true, cell: step => (step.nbytes ? bytes(step.nbytes) : "–"), key: step => step.nbytes},
    ],
    steps,
    {most: 50},
  );
}

part("overview", "Overview", section => {
  const colour = STEP_COLOURS(),
    byTime = [...STEPS.values()].filter(step => step.busy).sort((a, b) => b.busy - a.busy);
  const rows = byTime
    .slice(0, 8)
    .map(step => [
      link(step.name, () => select({step: step.name})),
      step.busy,
      percent(step.busy / BUSY),
      colour.of(step.tasks[0]),
    ]);
  if (byTime.length > 8)
    rows.push([
      `${whole(byTime.length - 8)} others`,
      sum(byTime.slice(8), step => step.busy),
      percent(sum(byTime.slice(8), step => step.busy) / BUSY),
      palette.series[7],
    ]);
  const warnings = DATA.warnings || [];
  section.append(
    figures(),
    failureAlert() || "",
    h(
      "div",
      {class: "columns"},
      block("Steps", stepTable()),
      h(
        "div",
        {},
        block("Where the time went", rows.length ? bars(rows) : h("p", {class: "quiet"}, "Nothing has run yet.")),
        block("Ranks", rankBars()),
        warnings.length
          ? block(
              "Warnings",
              h(
                "ul",
                {style: "padding-left:18px"},
                warnings.map(text => h("li", {}, text)),
              ),
            )
          : null,
      ),
    ),
  );
});

// How busy ranks were: their share of the run, in ten classes, and the least and most busy one.
function rankBars() {
  const busy = new Array(NUM_RANKS).fill(0);
  for (const task of TASKS) if (task.ran) busy[task.rank] += task.seconds;
  const order = busy.map((value, rank) => [rank, value]).sort((a, b) => b[1] - a[1]);
  const shown = order.length <= 8 ? order.sort((a, b) => a[0] - b[0]) : [...order.slice(0, 3), ...order.slice(-3)];
  return [
    bars(shown.map(([rank, value]) => [`rank ${rank}`, value, SECONDS ? percent(value / SECONDS) : "", palette.series[0]])),
    order.length > 8
      ? h("p", {class: "quiet small", style: "margin-top:8px"}, `the three most and the three least busy of ${order.length}`)
      : null,
  ];
}
