// What the run has left, as objects, and what follows from it. Nothing here touches the page.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const RAN = new Set(["done", "failed"]);

const spread = column => column.places.map(place => column.words[place]);

function readTasks() {
  const columns = {...DATA.tasks};
  for (const name of ["step", "kind", "operation", "state"]) columns[name] = spread(columns[name]);
  const names = Object.keys(columns);
  return columns.step.map((_, number) => {
    const task = {number, consumers: [], sources: [], sinks: []};
    for (const name of names) task[name] = columns[name][number];
    task.name = task.instance ? `${task.step}[${task.instance}]` : task.step;
    task.end = task.start + task.seconds;
    task.ran = RAN.has(task.state) && task.rank >= 0;
    return task;
  });
}

const TASKS = readTasks();
for (const task of TASKS) for (const need of task.needs) TASKS[need].consumers.push(task.number);

const TRANSFERS = DATA.transfers.map(([block, source, rank, left, came]) => ({
  block,
  source,
  rank,
  left,
  came,
  nbytes: TASKS[block].nbytes,
}));
for (const transfer of TRANSFERS) TASKS[transfer.block].sinks.push(transfer);

const HOSTS = DATA.hosts || [];
const NUM_RANKS = HOSTS.length;
const SECONDS = Math.max(
  DATA.seconds || 0,
  TASKS.reduce((end, task) => Math.max(end, task.ran ? task.end : 0), 0),
);
const RUNNING = DATA.status === null || DATA.status === undefined; // or ended without a word
const CONDITION = !RUNNING ? {0: "done", 75: "stopped"}[DATA.status] || "failed" : DATA.condition || "running";
const CRITICAL = DATA.critical;
const ON_PATH = new Set(CRITICAL.map(part => part.task));

// Steps: what people know; each with its tasks.

function readSteps() {
  const steps = new Map();
  for (const task of TASKS) {
    if (!steps.has(task.step)) steps.set(task.step, {name: task.step, tasks: [], needs: new Set(), consumers: new Set()});
    steps.get(task.step).tasks.push(task);
  }
  for (const step of steps.values()) {
    for (const task of step.tasks)
      for (const need of task.needs) {
        const other = steps.get(TASKS[need].step);
        if (other !== step) {
          step.needs.add(other);
          other.consumers.add(step);
        }
      }
    finishStep(step);
  }
  return steps;
}

function finishStep(step) {
  const tasks = step.tasks,
    ran = tasks.filter(task => task.ran);
  step.busy = sum(ran, task => task.seconds);
  step.predicted = sum(ran, task => task.planned_seconds);
  step.nbytes = sum(ran, task => task.nbytes);
  step.ranks = [...new Set(ran.map(task => task.rank))].sort((a, b) => a - b);
  step.counts = count(tasks, task => task.state);
  step.operations = [...new Set(tasks.map(task => task.operation).filter(Boolean))];
  step.instances = new Set(tasks.map(task => task.instance)).size;
  step.state = stateOf(step.counts, tasks.length);
  const kinds = new Set(tasks.map(task => task.kind));
  step.role = kinds.has("write") ? "file" : [...kinds].every(kind => kind === "load" || kind === "gone") ? "dataset" : "step";
  step.dataset = (DATA.datasets || {})[step.name];
}

function stateOf(counts, num) {
  if (counts.failed) return "failed";
  if (counts.running) return "running";
  if (counts.done === num) return "done";
  if (counts.skipped && counts.skipped + (counts.done || 0) === num) return "skipped";
  if (counts.cancelled) return "cancelled";
  return counts.done ? "running" : "planned";
}

const sum = (items, value) => items.reduce((total, item) => total + value(item), 0);

function count(items, key) {
  const counts = {};
  for (const item of items) counts[key(item)] = (counts[key(item)] || 0) + 1;
  return counts;
}

const STEPS = readSteps();
const OF_OPERATION = operation => TASKS.filter(task => task.operation === operation);
const FAILED = TASKS.filter(task => task.state === "failed" && task.kind !== "restore").sort((a, b) => a.start - b.start);
const BUSY = sum(
  TASKS.filter(task => task.ran),
  task => task.seconds,
);
const MOVED = sum(DATA.moved || [], link => link[3]);

// Memory: what processes had, or, where nobody has noted it, what the blocks on each rank took.

function heldBytes() {
  const events = Array.from({length: NUM_RANKS}, () => []);
  const arrivals = new Map(TRANSFERS.map(one => [`${one.block} ${one.rank}`, one.came]));
  for (const task of TASKS) {
    if (!task.ran || !task.nbytes || task.state !== "done") continue;
    const last = new Map([[task.rank, task.end]]);
    for (const number of task.consumers) {
      const consumer = TASKS[number];
      if (consumer.ran) last.set(consumer.rank, Math.max(last.get(consumer.rank) || 0, consumer.end));
      else last.set(task.rank, SECONDS);
    }
    for (const [rank, end] of last) {
      const here = rank === task.rank ? task.end : (arrivals.get(`${task.number} ${rank}`) ?? Math.min(task.end, end));
      const leaves =
        rank === task.rank ? Math.max(end, ...task.sinks.filter(one => one.source === rank).map(one => one.came)) : end;
      events[rank].push([here, task.nbytes], [Math.max(here, leaves), -task.nbytes]);
    }
  }
  return events.map(list => {
    let total = 0;
    return [
      [0, 0],
      ...list.sort((a, b) => a[0] - b[0] || b[1] - a[1]).map(([at, change]) => [at, (total += change)]),
      [SECONDS, total],
    ];
  });
}

const MEASURED = (DATA.samples || []).some(samples => samples.length > 1);

// Greatest value of each of `num` equal spans of time; steps are held until the next one.
function binned(samples, num, seconds) {
  const bins = new Array(num).fill(null);
  let value = samples.length ? samples[0][1] : 0,
    place = 0;
  for (let bin = 0; bin < num; bin++) {
    const end = (seconds * (bin + 1)) / num;
    let most = value;
    while (place < samples.length && samples[place][0] <= end) {
      value = samples[place++][1];
      most = Math.max(most, value);
    }
    bins[bin] = most;
  }
  return bins;
}

// Words for numbers

function bytes(num) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  while (Math.abs(num) >= 1024 && place < units.length - 1) {
    num /= 1024;
    place++;
  }
  return place ? `${num < 100 ? num.toFixed(1) : Math.round(num)} ${units[place]}` : `${Math.round(num)} B`;
}

function seconds(num) {
  if (num === null || num === undefined || !isFinite(num)) return "–";
  if (num === 0) return "0 s";
  const size = Math.abs(num);
  if (size >= 3600) return `${Math.floor(num / 3600)} h ${Math.round((num % 3600) / 60)} min`;
  if (size >= 120) return `${Math.floor(num / 60)} min ${Math.round(num % 60)} s`;
  if (size >= 1) return `${num.toFixed(size >= 10 ? 1 : 2)} s`;
  return size >= 1e-3 ? `${(num * 1e3).toFixed(size >= 0.01 ? 0 : 1)} ms` : `${(num * 1e6).toFixed(0)} µs`;
}

const whole = num => num.toLocaleString("en");
const many = (num, word, words) => `${whole(num)} ${num === 1 ? word : words || word + "s"}`;
const times = ratio => `× ${ratio >= 100 ? whole(Math.round(ratio)) : ratio >= 10 ? ratio.toFixed(1) : ratio.toFixed(2)}`;
const percent = share => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;

function ranges(numbers) {
  const parts = [];
  for (let place = 0; place < numbers.length; place++) {
    let last = place;
    while (last + 1 < numbers.length && numbers[last + 1] === numbers[last] + 1) last++;
    parts.push(last > place ? `${numbers[place]}–${numbers[last]}` : `${numbers[place]}`);
    place = last;
  }
  return parts.length > 6 ? `${parts.slice(0, 5).join(", ")}, … (${numbers.length})` : parts.join(", ");
}

// What the one box searches: steps, datasets, files, operations, tasks.

function searchIndex() {
  const index = [];
  const add = (kind, name, more, go) => index.push({kind, name, more, go, text: `${name} ${more}`.toLowerCase()});
  for (const step of STEPS.values()) {
    const tags = step.dataset ? (step.dataset.tags || []).join(" ") : "";
    add(
      step.role,
      step.name,
      [step.operations.join(", "), many(step.tasks.length, "task"), tags, step.state].filter(Boolean).join(" · "),
      {step: step.name},
    );
  }
  for (const [name, dataset] of Object.entries(DATA.datasets || {}))
    if (!STEPS.has(name))
      add("dataset", name, [(dataset.tags || []).join(" "), dataset.unit].filter(Boolean).join(" · "), {dataset: name});
  for (const task of TASKS)
    add(
      "task",
      task.name,
      `#${task.number} · ${task.kind === "apply" ? task.operation : task.kind} · ` +
        (task.rank >= 0 ? `rank ${task.rank} · ` : "") +
        task.state +
        ` · ${task.id.slice(0, 12)}`,
      {task: task.number},
    );
  return index;
}

let indexed = null;

function search(words) {
  indexed = indexed || searchIndex();
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const found = wanted.length ? indexed.filter(item => wanted.every(word => item.text.includes(word))) : [];
  const exact = words.trim().toLowerCase();
  return found.sort((a, b) => (b.name.toLowerCase() === exact) - (a.name.toLowerCase() === exact));
}
