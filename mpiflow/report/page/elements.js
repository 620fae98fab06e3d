// Elements, tables and charts. Every text goes in as text, never as markup.

function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") element.style.cssText = value;
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity))
    if (child !== null && child !== undefined && child !== false) element.append(child instanceof Node ? child : String(child));
  return element;
}

const byId = id => document.getElementById(id);
const MARKS = {done: "✓", failed: "✕", cancelled: "⊘", skipped: "↷", running: "▶", planned: "○"};
const mark = (state, text = state) => h("span", {class: `mark ${state}`}, `${MARKS[state] || ""} ${text}`);
const link = (text, go, properties = {}) => h("button", {class: "link", type: "button", onclick: go, ...properties}, text);
const button = (text, go, properties = {}) => h("button", {class: "plain", type: "button", onclick: go, ...properties}, text);
const fact = (name, value) =>
  value === "" || value === null || value === undefined ? [] : [h("dt", {}, name), h("dd", {}, value)];
const facts = (...pairs) =>
  h(
    "dl",
    {class: "facts"},
    pairs.map(([name, value]) => fact(name, value)),
  );
const block = (title, ...children) => h("div", {class: "block"}, h("h2", {}, title), ...children);

function toggle(text, pressed, go) {
  const element = button(
    text,
    () => {
      const now = element.getAttribute("aria-pressed") !== "true";
      element.setAttribute("aria-pressed", now);
      go(now);
    },
    {"aria-pressed": pressed ? "true" : "false"},
  );
  return element;
}

function choice(name, options, chosen, go) {
  const select = h(
    "select",
    {"aria-label": name, onchange: () => go(select.value)},
    options.map(([value, text]) => h("option", {value, selected: value === chosen}, text)),
  );
  return h("label", {}, name, select);
}

// A table that can be sorted by its columns: {title, cell(row), key(row), num}. Rows beyond `most` wait for a click.
function table(columns, rows, {sort = null, down = true, most = 100} = {}) {
  let sorted = sort,
    descending = down,
    shown = most;
  const body = h("tbody"),
    more = h("p", {});
  const heads = columns.map((column, place) =>
    h(
      "th",
      {class: column.num ? "num" : "", scope: "col"},
      column.key
        ? h(
            "button",
            {
              type: "button",
              onclick: () => {
                descending = sorted === place ? !descending : !!column.num;
                sorted = place;
                draw();
              },
            },
            column.title,
          )
        : column.title,
    ),
  );
  function draw() {
    const list = [...rows];
    if (sorted !== null) {
      const key = columns[sorted].key,
        sign = descending ? -1 : 1;
      list.sort((a, b) => {
        const x = key(a),
          y = key(b);
        return x < y ? -sign : x > y ? sign : 0;
      });
    }
    heads.forEach((head, place) =>
      sorted === place
        ? head.setAttribute("aria-sort", descending ? "descending" : "ascending")
        : head.removeAttribute("aria-sort"),
    );
    body.replaceChildren(
      ...list.slice(0, shown).map(row =>
        h(
          "tr",
          {},
          columns.map(column => h("td", {class: [column.num ? "num" : "", column.style || ""].join(" ")}, column.cell(row))),
        ),
      ),
    );
    more.replaceChildren(
      ...(list.length > shown
        ? [
            link(`Show ${many(Math.min(1000, list.length - shown), "more row")} of ${whole(list.length)}`, () => {
              shown += 1000;
              draw();
            }),
          ]
        : []),
    );
  }
  draw();
  return h("div", {class: "scroll"}, h("table", {}, h("thead", {}, h("tr", {}, heads)), body), more);
}

function bars(rows) {
  // [[name, value, text, color]], longest first
  const most = Math.max(1e-30, ...rows.map(row => row[1]));
  return h(
    "div",
    {class: "hbars"},
    rows.map(([name, value, text, color]) => [
      h("span", {class: "hname", title: typeof name === "string" ? name : null}, name),
      h("span", {class: "meter", "aria-hidden": "true"}, h("i", {style: `width:${(100 * value) / most}%;background:${color}`})),
      h("span", {class: "num quiet"}, text),
    ]),
  );
}

const meter = parts =>
  h(
    "span",
    {class: "meter", "aria-hidden": "true"},
    parts.map(([share, color]) => h("i", {style: `width:${100 * share}%;background:${color}`})),
  );

// Colours

let palette = {};

function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const names = ["paper", "raised", "line", "strong", "ink", "soft", "faint", "accent", "tint", "bad", "badtint", "good", "warn"];
  palette = Object.fromEntries(names.map(name => [name, style.getPropertyValue(`--${name}`).trim()]));
  palette.series = Array.from({length: 8}, (_, place) => style.getPropertyValue(`--c${place}`).trim());
  palette.font = getComputedStyle(document.body).fontFamily;
  palette.dark = document.documentElement.dataset.theme === "dark";
  // Viridis (van der Walt, Smith), whose lightness alone tells the order; the end that is near the paper means little.
  const viridis = ["#440154", "#472f7d", "#39568c", "#2a788e", "#1f988b", "#35b779", "#84d44b", "#fde725"];
  palette.scale = palette.dark ? viridis : [...viridis].reverse();
}

const STATE_COLOR = {done: "good", failed: "bad", cancelled: "faint", skipped: "faint", running: "accent", planned: "strong"};
const stateColor = state => palette[STATE_COLOR[state]] || palette.faint;

// The seven words with most time get a colour each, the others share one.
function colours(key) {
  const busy = new Map();
  for (const task of TASKS) if (task.ran) busy.set(key(task), (busy.get(key(task)) || 0) + task.seconds);
  const words = [...busy.keys()].sort((a, b) => busy.get(b) - busy.get(a) || (a < b ? -1 : 1));
  const places = new Map(words.map((word, place) => [word, words.length > 8 ? Math.min(place, 7) : place]));
  const legend = words.slice(0, words.length > 8 ? 7 : 8).map((word, place) => [word, place]);
  if (words.length > 8) legend.push([`${whole(words.length - 7)} others`, 7]);
  return {
    of: task => palette.series[places.get(key(task)) ?? 7],
    legend: legend.map(([word, place]) => [word, palette.series[place]]),
  };
}

const STEP_COLOURS = () => colours(task => task.step);
const legend = items =>
  h(
    "div",
    {class: "legend"},
    items.map(([word, color]) => h("span", {}, h("i", {class: "swatch", style: `background:${color}`}), word)),
  );

// Charts

const charts = new Set();

function chart(place, option, describe) {
  const element = h("div", {style: "width:100%;height:100%", "aria-busy": "true"}); // large charts are painted bit by bit
  place.replaceChildren(element);
  const made = echarts.init(element, null, {renderer: "canvas"});
  made.on("finished", () => element.setAttribute("aria-busy", "false"));
  made.setOption({
    animation: false,
    textStyle: {fontFamily: palette.font, color: palette.soft},
    aria: {enabled: true, label: {description: describe}},
    ...option,
  });
  const watcher = new ResizeObserver(() => element.clientWidth && made.resize());
  watcher.observe(element);
  charts.add({made, element, watcher});
  return made;
}

function disposeCharts(inside) {
  for (const item of charts)
    if (inside.contains(item.element) || !document.contains(item.element)) {
      item.watcher.disconnect();
      item.made.getZr().painter._redrawId = null; // or what is still being painted goes on, and stumbles over what is gone
      item.made.dispose();
      item.element.remove();
      charts.delete(item);
    }
}

const axis = (more = {}) => {
  const {axisLabel, nameTextStyle, ...rest} = more;
  return {
    axisLine: {lineStyle: {color: palette.strong}},
    axisTick: {show: false},
    splitLine: {lineStyle: {color: palette.line}},
    axisLabel: {color: palette.soft, fontSize: 12, hideOverlap: true, ...axisLabel},
    nameTextStyle: {color: palette.soft, fontSize: 12, ...nameTextStyle},
    ...rest,
  };
};

const tooltip = (formatter, more = {}) => ({
  backgroundColor: palette.paper,
  borderColor: palette.strong,
  borderWidth: 1,
  padding: [8, 12],
  confine: true,
  transitionDuration: 0,
  extraCssText: "box-shadow:0 6px 20px rgb(10 20 40 / 16%);border-radius:8px",
  formatter,
  ...more,
});

const tip = (title, ...lines) =>
  h(
    "div",
    {class: "tip"},
    h("b", {}, title),
    lines.filter(Boolean).map(line => h("div", {}, line)),
  );

const zoomBar = (more = {}) => ({
  type: "slider",
  height: 18,
  bottom: 8,
  borderColor: "transparent",
  backgroundColor: palette.raised,
  fillerColor: palette.dark ? "#ffffff16" : "#1f63b518",
  handleStyle: {color: palette.paper, borderColor: palette.strong},
  moveHandleSize: 0,
  showDataShadow: false,
  textStyle: {color: palette.soft},
  brushSelect: false,
  showDetail: false,
  ...more,
});
