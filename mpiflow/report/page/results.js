// Files with results, each dataset in them with a preview.

part(
  "results",
  "Results",
  section => {
    const files = DATA.results || [];
    if (!files.length)
      return section.append(
        h("p", {class: "empty"}, RUNNING ? "Results are shown when the run is over." : "The workflow names no results."),
      );
    for (const file of files) {
      const cards = file.previews;
      section.append(
        h(
          "div",
          {class: "block"},
          h("h2", {}, h("code", {style: "font-size:13px;font-weight:500"}, file.file)),
          h(
            "p",
            {class: "quiet", style: "margin-bottom:10px"},
            file.written ? many(file.previews.length, "dataset") : "not written",
          ),
          h("div", {class: "cards"}, cards.map(previewCard)),
        ),
      );
    }
    // Plots are drawn when they come into view.
    const seen = new IntersectionObserver(
      entries => {
        for (const entry of entries)
          if (entry.isIntersecting) {
            seen.unobserve(entry.target);
            entry.target.draw();
          }
      },
      {root: byId("main"), rootMargin: "300px"},
    );
    for (const plot of section.querySelectorAll(".plot")) seen.observe(plot);
  },
  {
    get count() {
      return sum(DATA.results, file => file.previews.length);
    },
  },
);

function previewCard(item) {
  const step = STEPS.has(item.name) ? item.name : STEPS.has(item.name.split(/[.[]/)[0]) ? item.name.split(/[.[]/)[0] : null;
  const form = [item.dtype, (item.shape || []).join(" × ") || (item.shape ? "scalar" : ""), item.unit === "1" ? "" : item.unit]
    .filter(Boolean)
    .join(" · ");
  return h(
    "article",
    {class: "card"},
    h("h3", {}, step ? link(item.name, () => select({step})) : item.name),
    h("p", {class: "quiet small"}, form, item.forms ? ` · ${item.forms}` : ""),
    ...(PREVIEWS[item.kind] || PREVIEWS.none)(item),
  );
}

const plotOf = draw => {
  const element = h("div", {class: "plot"});
  element.draw = () => draw(element);
  return element;
};
const plain = value =>
  typeof value === "number"
    ? Number.isInteger(value) && Math.abs(value) < 1e15
      ? String(value)
      : String(+value.toPrecision(6))
    : String(value);

const PREVIEWS = {
  value: item => [
    h(
      "p",
      {class: "big"},
      plain(item.value),
      item.unit && item.unit !== "1" ? h("span", {class: "quiet", style: "font-size:15px"}, ` ${item.unit}`) : "",
    ),
  ],
  line: item => [
    plotOf(element => drawLine(element, item)),
    item.step > 1 ? h("p", {class: "quiet small"}, `every ${item.step}th value`) : "",
  ],
  image: item => [
    plotOf(element => drawImage(element, item)),
    item.first > 1 ? h("p", {class: "quiet small"}, `the first of ${whole(item.first)}`) : "",
  ],
  table: item =>
    item.rows.length
      ? [
          h(
            "div",
            {class: "scroll", tabindex: "0"},
            h(
              "table",
              {},
              item.columns.some(Boolean)
                ? h(
                    "thead",
                    {},
                    h(
                      "tr",
                      {},
                      item.columns.map(name => h("th", {class: "num"}, name)),
                    ),
                  )
                : null,
              h(
                "tbody",
                {},
                item.rows.map(row =>
                  h(
                    "tr",
                    {},
                    row.map(value => h("td", {class: "num"}, plain(value))),
                  ),
                ),
              ),
            ),
          ),
          item.shape[0] > item.rows.length
            ? h("p", {class: "quiet small"}, `the first ${item.rows.length} of ${whole(item.shape[0])} rows`)
            : "",
        ]
      : [h("p", {class: "quiet"}, "no rows to show")],
  text: item => [h("pre", {tabindex: "0", style: "max-height:230px;margin-top:8px"}, item.text)],
  picture: item => [h("img", {src: item.source, alt: item.name})],
  none: item => [h("p", {class: "quiet", style: "margin-top:8px"}, item.text || "no preview")],
};

function drawLine(element, item) {
  const band = item.low.some((value, place) => value !== item.high[place]),
    color = palette.series[0];
  const series = band
    ? [
        {
          type: "line",
          showSymbol: false,
          stack: "band",
          lineStyle: {width: 0},
          data: item.x.map((x, place) => [x, item.low[place]]),
          silent: true,
        },
        {
          type: "line",
          showSymbol: false,
          stack: "band",
          lineStyle: {width: 1, color},
          areaStyle: {color, opacity: 0.3},
          data: item.x.map((x, place) => [x, item.high[place] === null ? null : item.high[place] - item.low[place]]),
        },
      ]
    : [
        {
          type: "line",
          showSymbol: item.x.length <= 40,
          symbolSize: 5,
          lineStyle: {width: 1.6, color},
          itemStyle: {color},
          data: item.x.map((x, place) => [x, item.low[place]]),
        },
      ];
  chart(
    element,
    {
      grid: {left: 62, right: 12, top: 12, bottom: 26},
      xAxis: axis({
        type: "value",
        min: 0,
        max: Math.max(1, item.shape[0] - 1),
        splitLine: {show: false},
        axisLabel: {showMaxLabel: false},
      }),
      yAxis: axis({type: "value", scale: true, splitNumber: 3, axisLabel: {formatter: plain}}),
      tooltip: tooltip(
        points => {
          const place = points[0].dataIndex;
          return tip(
            `row ${whole(item.x[place])}`,
            item.low[place] === item.high[place]
              ? plain(item.low[place])
              : `${plain(item.low[place])} … ${plain(item.high[place])}`,
          );
        },
        {trigger: "axis", axisPointer: {lineStyle: {color: palette.strong}}},
      ),
      series,
    },
    `Plot of ${item.name}`,
  );
}

function drawImage(element, item) {
  const data = item.rows.flatMap((row, y) => row.map((value, x) => [x, y, value])).filter(cell => cell[2] !== null),
    values = data.map(cell => cell[2]);
  const low = values.reduce((a, b) => Math.min(a, b), Infinity),
    high = values.reduce((a, b) => Math.max(a, b), -Infinity),
    [rows, columns] = item.shape.slice(-2);
  const labels = (num, size) => Array.from({length: num}, (_, place) => String(Math.floor((place * size) / num)));
  chart(
    element,
    {
      grid: {left: 48, right: 74, top: 10, bottom: 26},
      xAxis: axis({type: "category", data: labels(item.rows[0].length, columns), splitLine: {show: false}}),
      yAxis: axis({type: "category", data: labels(item.rows.length, rows), inverse: true, splitLine: {show: false}}),
      visualMap: {
        type: "continuous",
        min: low,
        max: high > low ? high : low + 1,
        right: 0,
        top: "middle",
        itemHeight: 110,
        itemWidth: 10,
        inRange: {color: palette.scale},
        text: [plain(high), plain(low)],
        textStyle: {color: palette.soft, fontSize: 11},
        calculable: false,
      },
      tooltip: tooltip(({value: [x, y, value]}) =>
        tip(plain(value), `row ${labels(item.rows.length, rows)[y]}, column ${labels(item.rows[0].length, columns)[x]} on`),
      ),
      series: [{type: "heatmap", progressive: 0, data, emphasis: {disabled: true}}],
    },
    `Picture of ${item.name}`,
  );
}
