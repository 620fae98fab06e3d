// Details of what is selected: {step}, {task} or {dataset}.

let onSelect = null; // what the part that is shown does about it

function select(what) {
  selected = what;
  const aside = byId("details");
  aside.hidden = !what;
  if (what) {
    const content =
      "task" in what
        ? taskDetails(TASKS[what.task])
        : STEPS.has(what.step ?? what.dataset)
          ? stepDetails(STEPS.get(what.step ?? what.dataset))
          : datasetDetails(what.dataset);
    aside.replaceChildren(...content);
    aside.scrollTop = 0;
  }
  store.write(`selected ${DATA.run}`, what ? JSON.stringify(what) : null);
  if (onSelect) onSelect(what);
}

const detailsHead = (kind, name, state) =>
  h(
    "div",
    {},
    h(
      "div",
      {class: "head"},
      h("span", {class: "quiet small"}, kind, " ", state ? mark(state) : null),
      button("✕", () => select(null), {"aria-label": "Close details", style: "height:26px;padding:0 8px"}),
    ),
    h("h2", {}, name),
  );
const stepLinks = steps => [...steps].map((step, place) => [place ? ", " : "", link(step.name, () => select({step: step.name}))]);
const taskLinks = (numbers, most = 40) => [
  numbers
    .slice(0, most)
    .map((number, place) => [place ? ", " : "", link(`${TASKS[number].name} #${number}`, () => select({task: number}))]),
  numbers.length > most ? ` and ${whole(numbers.length - most)} more` : "",
];
const hashed = id => h("code", {}, id || "–");
const goTo = (title, key, what) =>
  button(title, () => {
    show(key);
    select(what);
  });

function stepDetails(step) {
  const what = {step: step.name},
    dataset = step.dataset,
    states = Object.entries(step.counts);
  return [
    detailsHead({dataset: "Dataset", file: "Result file", step: "Step"}[step.role], step.name, step.state),
    h(
      "div",
      {class: "actions"},
      goTo("Workflow", "workflow", what),
      goTo("Timeline", "timeline", what),
      dataset ? goTo("Lineage", "provenance", what) : null,
    ),
    facts(
      ["Operation", step.operations.join(", ")],
      ["Tasks", states.map(([state, num], place) => [place ? ", " : "", mark(state, `${whole(num)} ${state}`)])],
      ["Instances", step.instances > 1 ? whole(step.instances) : ""],
      ["Ranks", ranges(step.ranks)],
      ["Busy", seconds(step.busy)],
      ["Predicted", step.predicted ? seconds(step.predicted) : ""],
      ["Bytes made", step.nbytes ? bytes(step.nbytes) : ""],
      ["Unit", dataset && dataset.unit],
      ["Tags", dataset && (dataset.tags || []).join(", ")],
      ["Reason", (DATA.reasons || {})[step.name]],
      ["Reads", step.needs.size ? stepLinks(step.needs) : ""],
      ["Read by", step.consumers.size ? stepLinks(step.consumers) : ""],
      ["Id", dataset ? hashed(dataset.id) : ""],
    ),
    h("h3", {}, many(step.tasks.length, "task")),
    table(
      [
        {
          title: "Task",
          cell: task => link(task.instance || `#${task.number}`, () => select({task: task.number})),
          key: task => task.number,
        },
        {title: "Rank", num: true, cell: task => (task.rank >= 0 ? task.rank : "–"), key: task => task.rank},
        {
          title: "Took",
          num: true,
          cell: task => (task.ran ? seconds(task.seconds) : mark(task.state, task.state)),
          key: task => (task.ran ? task.seconds : -1),
        },
      ],
      step.tasks,
      {most: 30},
    ),
  ];
}

function taskDetails(task) {
  const parameters = Object.entries(task.parameters),
    incoming = task.needs.filter(number => TASKS[number].ran && TASKS[number].rank !== task.rank);
  return [
    detailsHead(`Task #${task.number}`, task.name, task.state),
    h(
      "div",
      {class: "actions"},
      goTo("Timeline", "timeline", {task: task.number}),
      STEPS.get(task.step).tasks.length > 1 || STEPS.get(task.step).dataset
        ? button("Step", () => select({step: task.step}))
        : null,
    ),
    facts(
      ["Operation", task.operation],
      ["Kind", task.kind],
      ["Rank", task.rank >= 0 ? `${task.rank} on ${HOSTS[task.rank]}` : ""],
      ["Planned rank", task.planned_rank >= 0 && task.planned_rank !== task.rank ? task.planned_rank : ""],
      ["Started", task.ran ? `after ${seconds(task.start)}` : ""],
      ["Took", task.ran ? seconds(task.seconds) : ""],
      ["Predicted", task.planned_seconds ? seconds(task.planned_seconds) : ""],
      [
        "Result",
        task.nbytes ? `${bytes(task.nbytes)}${task.planned_nbytes ? ` (predicted ${bytes(task.planned_nbytes)})` : ""}` : "",
      ],
      ["Critical", ON_PATH.has(task.number) ? "on the critical path" : ""],
      ["Reads", task.needs.length ? taskLinks(task.needs) : ""],
      [
        "From ranks",
        incoming.length ? ranges([...new Set(incoming.map(number => TASKS[number].rank))].sort((a, b) => a - b)) : "",
      ],
      ["Read by", task.consumers.length ? taskLinks(task.consumers) : ""],
      ["Sent to", task.sinks.length ? ranges([...new Set(task.sinks.map(one => one.rank))].sort((a, b) => a - b)) : ""],
      ["Id", hashed(task.id)],
    ),
    parameters.length
      ? [
          h("h3", {}, "Parameters"),
          facts(
            ...parameters.map(([name, value]) => [
              name,
              h("code", {}, typeof value === "string" ? value : JSON.stringify(value)),
            ]),
          ),
        ]
      : [],
    task.error ? [h("h3", {class: "bad"}, "Error"), h("pre", {tabindex: "0"}, task.error)] : [],
  ].flat();
}

function datasetDetails(name) {
  const dataset = DATA.datasets[name],
    maker = dataset.tasks.length ? TASKS[dataset.tasks[0]].step : "";
  return [
    detailsHead("Dataset", name),
    facts(
      ["Same as", maker ? link(maker, () => select({step: maker})) : ""],
      ["Unit", dataset.unit],
      ["Tags", (dataset.tags || []).join(", ")],
      ["Id", hashed(dataset.id)],
    ),
  ];
}
