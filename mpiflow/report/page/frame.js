// The frame around the parts: header, tabs, search, the panel with details, light and dark.

const PARTS = []; // {key, title, count, bad, fill, draw(section)}, in the order of the tabs
const part = (key, title, draw, more = {}) => PARTS.push({key, title, draw, ...more});
let current = null,
  selected = null;

// What outlives reading the page again: kept by the browser, if it lets a file keep anything.
const store = {
  read(name) {
    try {
      return sessionStorage.getItem(`mpiflow ${name}`);
    } catch {
      return null;
    }
  },
  write(name, value) {
    try {
      value === null ? sessionStorage.removeItem(`mpiflow ${name}`) : sessionStorage.setItem(`mpiflow ${name}`, value);
    } catch {
      /* a file need not be remembered */
    }
  },
};

function drawHeader() {
  byId("name").textContent = DATA.name;
  const status = byId("status"),
    kind = {killed: "failed", silent: "failed", stopped: "cancelled"}[CONDITION] || CONDITION;
  status.className = `chip ${kind}`;
  status.textContent = `${MARKS[kind]} ${CONDITION}`;
  const started = DATA.started ? new Date(DATA.started) : null;
  byId("when").textContent =
    started && !isNaN(started)
      ? `${started.toLocaleString("en-GB", {dateStyle: "medium", timeStyle: "short"})} · ${many(NUM_RANKS, "rank")} on ${many(new Set(HOSTS).size, "node")}`
      : "";
}

function drawTabs() {
  const tabs = byId("tabs");
  tabs.replaceChildren(
    ...PARTS.map(item =>
      h(
        "button",
        {
          type: "button",
          role: "tab",
          id: `tab-${item.key}`,
          "aria-controls": "main",
          "aria-selected": "false",
          tabindex: "-1",
          onclick: () => show(item.key),
        },
        item.title,
        item.count ? h("span", {class: `count ${item.bad ? "bad" : ""}`}, whole(item.count)) : null,
      ),
    ),
  );
  tabs.addEventListener("keydown", event => {
    const step = {ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity}[event.key];
    if (!step) return;
    event.preventDefault();
    const place = PARTS.findIndex(item => item.key === current);
    const next = isFinite(step) ? (place + step + PARTS.length) % PARTS.length : step < 0 ? 0 : PARTS.length - 1;
    show(PARTS[next].key);
    byId(`tab-${PARTS[next].key}`).focus();
  });
}

function show(key) {
  const item = PARTS.find(one => one.key === key) || PARTS[0];
  current = item.key;
  for (const other of PARTS) {
    const tab = byId(`tab-${other.key}`);
    tab.setAttribute("aria-selected", other === item);
    tab.tabIndex = other === item ? 0 : -1;
  }
  byId(`tab-${item.key}`).scrollIntoView({block: "nearest", inline: "nearest"});
  const main = byId("main"),
    section = h("section", {
      role: "tabpanel",
      "aria-labelledby": `tab-${item.key}`,
      tabindex: "-1",
      class: item.fill ? "fill" : "",
      id: `part-${item.key}`,
    });
  disposeCharts(main);
  onSelect = null;
  main.replaceChildren(section);
  main.scrollTop = 0;
  item.draw(section);
  try {
    if (location.protocol !== "about:") history.replaceState(null, "", `#${item.key}`);     // in a notebook it has no address
  } catch {
    /* some viewers have no address */
  }
  store.write(`part ${DATA.run}`, item.key);
}

// Light and dark

const THEMES = ["auto", "light", "dark"];
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
let theme = "auto";

function applyTheme(chosen) {
  theme = THEMES.includes(chosen) ? chosen : "auto";
  document.documentElement.dataset.theme = theme === "auto" ? (prefersDark.matches ? "dark" : "light") : theme;
  byId("theme").textContent = {auto: "◐ Auto", light: "☼ Light", dark: "☾ Dark"}[theme];
  byId("theme").setAttribute("aria-label", `Colours: ${theme}; press for ${THEMES[(THEMES.indexOf(theme) + 1) % 3]}`);
  store.write("theme", theme === "auto" ? null : theme);
  readPalette();
}

function watchTheme() {
  applyTheme(store.read("theme") || "auto");
  const redraw = () => {
    const kept = selected;
    show(current);
    if (kept) select(kept);
  };
  byId("theme").addEventListener("click", () => {
    applyTheme(THEMES[(THEMES.indexOf(theme) + 1) % 3]);
    redraw();
  });
  prefersDark.addEventListener("change", () => {
    if (theme === "auto") {
      applyTheme("auto");
      redraw();
    }
  });
}

// Search

function watchSearch() {
  const input = byId("search"),
    list = byId("found");
  let options = [],
    place = -1;
  const close = () => {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const choose = number => {
    place = number;
    options.forEach((option, index) => option.element.setAttribute("aria-selected", index === place));
    if (options[place]) {
      options[place].element.scrollIntoView({block: "nearest"});
      input.setAttribute("aria-activedescendant", options[place].element.id);
    }
  };
  const take = number => {
    if (options[number]) {
      select(options[number].item.go);
      close();
      input.blur();
    }
  };
  const look = () => {
    if (!input.value.trim()) return close();
    const found = search(input.value);
    options = found.slice(0, 60).map((item, number) => ({
      item,
      element: h(
        "div",
        {
          class: "option",
          role: "option",
          id: `option-${number}`,
          onmousedown: event => {
            event.preventDefault();
            take(number);
          },
          onmousemove: () => place !== number && choose(number),
        },
        h("span", {}, item.kind),
        h("span", {style: "min-width:0"}, h("b", {}, item.name), h("small", {}, item.more)),
      ),
    }));
    list.replaceChildren(...options.map(option => option.element));
    if (!found.length) list.append(h("div", {class: "none"}, "Nothing has all of these words."));
    if (found.length > options.length)
      list.append(h("div", {class: "none"}, `and ${whole(found.length - options.length)} more; another word finds fewer`));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    choose(0);
  };
  input.addEventListener("input", look);
  input.addEventListener("focus", look);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", event => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (options.length) choose((place + (event.key === "ArrowDown" ? 1 : -1) + options.length) % options.length);
    } else if (event.key === "Enter") take(place);
    else if (event.key === "Escape") {
      close();
      input.blur();
    }
  });
}

function watchKeys() {
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key === "/") {
      event.preventDefault();
      byId("search").focus();
      byId("search").select();
    } else if (event.key === "Escape") select(null);
    else if (/^[1-9]$/.test(event.key) && PARTS[event.key - 1]) show(PARTS[event.key - 1].key);
  });
}
