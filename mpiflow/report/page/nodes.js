// The workflow as a graph: steps, or families of alike steps where there are very many; each opens into what it is made of.

const MOST_NODES = 240; // steps that are shown one by one at first
const READABLE = 0.62; // of the size of a node at which its words can be read
const MOST_PARTS = 400; // instances that a step opens into
const opened = new Set(),
  closedFamilies = new Map();

function families() {
  if (closedFamilies.size || STEPS.size <= MOST_NODES) return closedFamilies;
  const depth = new Map();
  for (const step of inOrder()) depth.set(step, Math.max(-1, ...[...step.needs].map(one => depth.get(one))) + 1);
  for (const step of STEPS.values()) {
    const key = `${depth.get(step)} ${step.role} ${step.operations.join(",")}`;
    if (!closedFamilies.has(key)) closedFamilies.set(key, []);
    closedFamilies.get(key).push(step);
  }
  return closedFamilies;
}

function inOrder() {
  // each step after those that it needs
  const done = new Set(),
    list = [];
  for (const root of STEPS.values()) {
    const stack = [[root, [...root.needs]]];
    while (stack.length) {
      const [step, needs] = stack.at(-1);
      if (done.has(step) || !needs.length) {
        stack.pop();
        if (!done.has(step)) {
          done.add(step);
          list.push(step);
        }
      } else {
        const next = needs.pop();
        if (!done.has(next) && !stack.some(([one]) => one === next)) stack.push([next, [...next.needs]]);
      }
    }
  }
  return list;
}

// What is shown now: nodes with their tasks, and the edges between them.
function visibleNodes() {
  const nodes = [],
    of = new Array(TASKS.length);
  const add = (key, title, more, tasks, go, role, parts) => {
    const node = {
      key,
      title,
      more,
      tasks,
      go,
      role,
      parts,
      state: stateOf(
        count(tasks, task => task.state),
        tasks.length,
      ),
      width: 178,
      height: 44,
    };
    for (const task of tasks) of[task.number] = nodes.length;
    nodes.push(node);
  };
  const addStep = step => {
    if (opened.has(step.name) && step.tasks.length > 1) return addParts(step);
    const what = step.operations[0] || {dataset: "dataset", file: "result file", step: step.tasks[0].kind}[step.role];
    add(
      step.name,
      step.name,
      step.tasks.length > 1 ? `${what} · ${many(step.tasks.length, "task")}` : what,
      step.tasks,
      {step: step.name},
      step.role,
      step.tasks.length > 1 ? step.name : null,
    );
  };
  const addParts = step => {
    const groups = new Map();
    for (const task of step.tasks) {
      const key = step.instances > 1 ? task.instance : task.number;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(task);
    }
    const list = [...groups.entries()],
      shown = list.length > MOST_PARTS ? list.slice(0, MOST_PARTS - 1) : list;
    for (const [key, tasks] of shown)
      add(
        `${step.name} ${key}`,
        step.instances > 1 ? key || step.name : `${step.name} #${key}`,
        tasks.length > 1 ? many(tasks.length, "task") : tasks[0].kind === "apply" ? tasks[0].operation : tasks[0].kind,
        tasks,
        tasks.length > 1 ? {step: step.name} : {task: tasks[0].number},
        step.role,
        null,
      );
    if (shown.length < list.length)
      add(
        `${step.name} rest`,
        `${whole(list.length - shown.length)} more`,
        step.name,
        list.slice(shown.length).flatMap(([, tasks]) => tasks),
        {step: step.name},
        step.role,
        null,
      );
  };
  const groups = families();
  if (!groups.size) for (const step of STEPS.values()) addStep(step);
  for (const [key, steps] of groups)
    if (steps.length < 4 || opened.has(key)) steps.forEach(addStep);
    else
      add(
        key,
        `${common(steps)} × ${whole(steps.length)}`,
        `${steps[0].operations[0] || steps[0].role} · ${many(
          sum(steps, step => step.tasks.length),
          "task",
        )}`,
        steps.flatMap(step => step.tasks),
        {step: steps[0].name},
        steps[0].role,
        key,
      );
  const edges = new Map();
  for (const task of TASKS)
    for (const need of task.needs)
      if (of[need] !== of[task.number]) edges.set(`${of[need]} ${of[task.number]}`, [of[need], of[task.number]]);
  return {nodes, edges: [...edges.values()]};
}

function common(steps) {
  // what the names of steps begin with
  let start = steps[0].name;
  for (const step of steps) while (!step.name.startsWith(start)) start = start.slice(0, -1);
  start = start.replace(/[\d_.\-[]+$/, "");
  return start.length > 2 ? `${start}…` : steps[0].operations[0] || steps[0].name;
}
