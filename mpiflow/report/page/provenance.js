// Where everything comes from: lineage, code, versions, documents.

part("provenance", "Provenance", section => {
  const names = [...STEPS.values()]
      .filter(step => step.dataset || step.role === "file")
      .map(step => step.name)
      .sort(),
    files = [...STEPS.values()].filter(step => step.role === "file").map(step => step.name);
  const tree = h("div", {class: "tree"}),
    wanted = selected && STEPS.has(selected.step) ? selected.step : files[0] || names.at(-1);
  const draw = name => tree.replaceChildren(lineage(STEPS.get(name), new Set(), 0));
  if (wanted) draw(wanted);
  onSelect = what => {
    if (what && STEPS.has(what.step)) {
      draw(what.step);
      const select = section.querySelector("select");
      if (select) select.value = what.step;
    }
  };
  const versions = Object.entries(DATA.versions || {}),
    set = Object.entries(DATA.overrides || {}),
    operations = Object.entries(DATA.operations || {}),
    machine = DATA.machine || {};
  const link = (pair, write) => (pair ? `${write(pair[0])} within a node, ${write(pair[1])} between nodes` : "");
  section.append(
    h(
      "div",
      {class: "halves"},
      h(
        "div",
        {},
        block(
          "Lineage",
          wanted
            ? [
                h(
                  "div",
                  {class: "bar"},
                  choice(
                    "Of",
                    [...new Set([...files, ...names])].map(name => [name, name]),
                    wanted,
                    draw,
                  ),
                ),
                tree,
              ]
            : h("p", {class: "quiet"}, "There are no datasets."),
        ),
      ),
      h(
        "div",
        {},
        block(
          "Run",
          facts(
            ["Workflow", DATA.document],
            ["Digest", DATA.digest ? hashed(DATA.digest) : ""],
            ["Command", (DATA.command || []).length ? h("code", {}, DATA.command.join(" ")) : ""],
            ["Parameters", set.length ? h("code", {}, set.map(([name, value]) => `${name}=${value}`).join(", ")) : ""],
            ["Started", DATA.started],
            ["Rounds", (DATA.rounds || []).length > 1 ? DATA.rounds.join(", ") : ""],
            ["Plan", hashed(DATA.plan)],
            ["Catalog", DATA.catalog ? [hashed(DATA.catalog), ` after ${many(DATA.epochs, "epoch")}`] : ""],
            ["Latency", link(machine.latency, seconds)],
            ["Bandwidth", link(machine.bandwidth, value => `${bytes(value)}/s`)],
          ),
        ),
        versions.length ? block("Versions", facts(...versions)) : "",
        operations.length
          ? block(
              "Code of operations",
              table(
                [
                  {title: "Operation", cell: row => row[0], key: row => row[0]},
                  {title: "Hash", cell: row => hashed(row[1]), key: row => row[1]},
                  {
                    title: "Tasks",
                    num: true,
                    cell: row => whole(OF_OPERATION(row[0]).length),
                    key: row => OF_OPERATION(row[0]).length,
                  },
                ],
                operations,
                {most: 30},
              ),
            )
          : "",
        block(
          "Nodes",
          h(
            "p",
            {class: "quiet"},
            Object.entries(count(HOSTS, host => host))
              .map(([host, num]) => `${host}: ${many(num, "rank")}`)
              .join("; "),
          ),
        ),
      ),
    ),
    ...Object.entries(DATA.documents || {}).map(([name, text]) => block(name, h("pre", {tabindex: "0"}, text))),
  );
});

// What a step was made of, all the way down; what was shown before is not shown again.
function lineage(step, seen, depth) {
  const label = [
    link(step.name, () => select({step: step.name})),
    h("span", {class: "quiet"}, ` ${step.operations.join(", ") || step.role}`),
    step.dataset ? h("code", {class: "faint"}, ` ${step.dataset.id.slice(0, 12)}`) : "",
  ];
  if (!step.needs.size) return h("div", {class: "leaf"}, label);
  if (seen.has(step.name)) return h("div", {class: "leaf"}, label, h("span", {class: "faint"}, " (see above)"));
  seen.add(step.name);
  const needs = [...step.needs],
    details = h("details", {open: depth < 6}, h("summary", {}, label));
  for (const need of needs.slice(0, 30)) details.append(lineage(need, seen, depth + 1));
  if (needs.length > 30) details.append(h("div", {class: "leaf quiet"}, `and ${whole(needs.length - 30)} more`));
  return details;
}
