// What failed, with tracebacks, and what was cancelled because of it.

part(
  "failures",
  "Failures",
  section => {
    const cancelled = TASKS.filter(task => task.state === "cancelled");
    if (!FAILED.length)
      return section.append(
        h(
          "p",
          {class: "empty"},
          cancelled.length
            ? `Nothing failed; ${many(cancelled.length, "task")} did not run, since the run was stopped.`
            : RUNNING
              ? "Nothing has failed so far."
              : "Nothing failed.",
        ),
      );
    const groups = new Map();
    for (const task of FAILED) {
      const key = `${task.step}\n${reasonOf(task.error)}`;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(task);
    }
    section.append(
      block(
        many(FAILED.length, "task") + " failed",
        [...groups.values()].slice(0, 100).map((tasks, place) => failureItem(tasks, place === 0)),
      ),
    );
    if (cancelled.length) {
      const steps = [...Object.entries(count(cancelled, task => task.step))];
      section.append(
        block(
          "Not run because of that",
          h(
            "p",
            {class: "note"},
            many(cancelled.length, "task"),
            " of ",
            steps
              .slice(0, 40)
              .map(([name, num], index) => [index ? ", " : "", link(name, () => select({step: name})), ` (${whole(num)})`]),
            steps.length > 40 ? ` and ${whole(steps.length - 40)} more steps` : "",
          ),
        ),
      );
    }
  },
  {
    get count() {
      return FAILED.length;
    },
    bad: true,
  },
);

function failureItem(tasks, open) {
  const [task] = tasks,
    inputs = task.needs.slice(0, 12),
    parameters = Object.entries(task.parameters);
  return h(
    "details",
    {class: "item", open},
    h(
      "summary",
      {},
      h(
        "span",
        {},
        h("b", {}, task.name),
        h(
          "span",
          {class: "quiet"},
          ` · rank ${task.rank} on ${HOSTS[task.rank]} · after ${seconds(task.start + task.seconds)}${tasks.length > 1 ? ` · and ${many(tasks.length - 1, "more task")} with this error` : ""}`,
        ),
        h("br"),
        h("code", {class: "bad"}, reasonOf(task.error)),
      ),
    ),
    facts(
      ["Task", link(`#${task.number}`, () => select({task: task.number}))],
      ["Operation", task.operation || task.kind],
      ["Inputs", inputs.length ? taskLinks(inputs) : ""],
      [
        "Parameters",
        parameters.length ? h("code", {}, parameters.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(", ")) : "",
      ],
      [
        "Also",
        tasks.length > 1
          ? taskLinks(
              tasks.slice(1).map(one => one.number),
              20,
            )
          : "",
      ],
    ),
    h("pre", {tabindex: "0"}, task.error),
  );
}
