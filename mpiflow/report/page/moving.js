// What moved between ranks, and the memory over time.

part("bytes", "Data moved", section => {
  const moved = DATA.moved || [],
    planned = new Map((DATA.planned_moved || []).map(([source, rank, , num]) => [`${source} ${rank}`, num]));
  if (!moved.length)
    return section.append(
      h("p", {class: "empty"}, NUM_RANKS > 1 ? "Nothing moved between ranks." : "There was one rank only, so nothing moved."),
    );
  const sent = new Array(NUM_RANKS).fill(0),
    received = new Array(NUM_RANKS).fill(0);
  for (const [source, rank, , num] of moved) {
    sent[source] += num;
    received[rank] += num;
  }
  const figure = h("div", {class: "chart", style: "aspect-ratio:1.12;max-height:max(420px,calc(100vh - 190px))"});
  section.append(
    h(
      "div",
      {class: "halves", style: "grid-template-columns:minmax(0,1.35fr) minmax(360px,1fr)"},
      block("From rank to rank", figure),
      h(
        "div",
        {},
        block(
          "Busiest links",
          table(
            [
              {title: "From", num: true, cell: link => link[0], key: link => link[0]},
              {title: "To", num: true, cell: link => link[1], key: link => link[1]},
              {title: "Blocks", num: true, cell: link => whole(link[2]), key: link => link[2]},
              {title: "Bytes", num: true, cell: link => bytes(link[3]), key: link => link[3]},
              {
                title: "Predicted",
                num: true,
                cell: link => (planned.has(`${link[0]} ${link[1]}`) ? bytes(planned.get(`${link[0]} ${link[1]}`)) : "–"),
                key: link => planned.get(`${link[0]} ${link[1]}`) || 0,
              },
            ],
            moved,
            {sort: 3, most: 12},
          ),
        ),
        block(
          "Ranks",
          table(
            [
              {title: "Rank", num: true, cell: rank => rank, key: rank => rank},
              {title: "Node", style: "quiet", cell: rank => HOSTS[rank], key: rank => HOSTS[rank]},
              {title: "Sent", num: true, cell: rank => bytes(sent[rank]), key: rank => sent[rank]},
              {title: "Received", num: true, cell: rank => bytes(received[rank]), key: rank => received[rank]},
            ],
            sent.map((_, rank) => rank),
            {sort: 2, most: 12},
          ),
        ),
      ),
    ),
  );
  drawMatrix(figure, moved);
});

function drawMatrix(figure, moved) {
  const names = HOSTS.map((_, rank) => String(rank)),
    most = Math.max(...moved.map(link => link[3])),
    least = Math.min(...moved.map(link => Math.max(1, link[3])));
  chart(
    figure,
    {
      grid: {left: 52, right: 16, top: 46, bottom: 64},
      xAxis: axis({
        type: "category",
        data: names,
        name: "to rank",
        nameLocation: "middle",
        nameGap: 26,
        position: "top",
        splitLine: {show: false},
      }),
      yAxis: axis({
        type: "category",
        data: names,
        inverse: true,
        name: "from rank",
        nameLocation: "middle",
        nameGap: 34,
        splitLine: {show: false},
      }),
      visualMap: {
        type: "continuous",
        min: Math.log10(least),
        max: Math.max(Math.log10(most), Math.log10(least) + 0.001),
        dimension: 2,
        orient: "horizontal",
        left: "center",
        bottom: 4,
        itemWidth: 12,
        itemHeight: 220,
        calculable: false,
        inRange: {color: palette.scale},
        text: [bytes(most), bytes(least)],
        textStyle: {color: palette.soft},
      },
      tooltip: tooltip(({value: [rank, source, , blocks, num]}) =>
        tip(
          `rank ${source} → rank ${rank}`,
          `${bytes(num)} in ${many(blocks, "block")}`,
          HOSTS[source] === HOSTS[rank] ? `within ${HOSTS[rank]}` : `${HOSTS[source]} → ${HOSTS[rank]}`,
        ),
      ),
      series: [
        {
          type: "heatmap",
          progressive: 0,
          data: moved.map(([source, rank, blocks, num]) => [rank, source, Math.log10(Math.max(1, num)), blocks, num]),
          itemStyle: {borderColor: palette.paper, borderWidth: NUM_RANKS <= 100 ? 1 : 0},
          emphasis: {itemStyle: {borderColor: palette.ink, borderWidth: 1.5}},
        },
      ],
    },
    "Bytes that moved from each rank to each other rank",
  );
}

part("memory", "Memory", section => {
  let measured = MEASURED;
  const bar = h("div", {class: "bar"}),
    note = h("p", {class: "note"}),
    lines = h("div", {class: "chart", style: "height:300px"}),
    map = h("div", {class: "chart", style: `height:${86 + NUM_RANKS * rowHeight(NUM_RANKS)}px`});
  if (MEASURED)
    bar.append(
      choice(
        "Show",
        [
          ["measured", "memory of the processes"],
          ["held", "bytes of blocks"],
        ],
        "measured",
        value => {
          measured = value === "measured";
          draw();
        },
      ),
    );
  section.append(bar, note, lines, h("h2", {style: "margin:18px 0 4px"}, "Rank by rank"), map);
  function draw() {
    disposeCharts(section);
    const samples = measured ? DATA.samples : heldBytes(),
      cell = Math.max(6, Math.ceil(((section.clientWidth - LEFT - 20) * NUM_RANKS) / MOST_CELLS)),
      num = Math.max(20, Math.floor((section.clientWidth - LEFT - 20) / cell));
    const ranks = samples.map(list => binned(list, num, SECONDS)),
      peaks = DATA.peak_memory || [];
    note.textContent = measured
      ? "What each process had, noted by itself as the run went on." +
        (peaks.length ? ` The most that any had at any time: ${bytes(Math.max(...peaks))}.` : "")
      : "Blocks that each rank had to hold, worked out from the times of tasks: from when a block was there until its last use there." +
        (MEASURED ? "" : " Memory of the processes is noted by runs with --report, --record or --trace.");
    drawMemory(lines, ranks, num, cell, measured);
    drawMemoryMap(map, ranks, num, cell);
  }
  draw();
});

function drawMemory(figure, ranks, num, cell, measured) {
  const at = place => (SECONDS * (place + 1)) / num,
    column = place => ranks.map(list => list[place]).sort((a, b) => a - b);
  const points = Array.from({length: num}, (_, place) => {
    const sorted = column(place);
    return [at(place), sorted[0], sorted[sorted.length >> 1], sorted[sorted.length - 1], sum(sorted, value => value)];
  });
  points.unshift([0, ...points[0].slice(1)]);
  const step = byteStep(Math.max(...points.map(point => point[3]))),
    top = step * Math.ceil(Math.max(1, ...points.map(point => point[3])) / step);
  const series = (name, place, color, more = {}) => ({
    name,
    type: "line",
    showSymbol: false,
    step: measured ? false : "end",
    lineStyle: {width: 2, color, ...more},
    itemStyle: {color},
    data: points.map(point => [point[0], point[place]]),
  });
  const shown =
    NUM_RANKS === 1
      ? [series("rank 0", 3, palette.series[0])]
      : [
          series("most of any rank", 3, palette.series[1]),
          series("median rank", 2, palette.series[0]),
          series("least of any rank", 1, palette.series[2], {type: "dashed"}),
        ];
  chart(
    figure,
    {
      grid: {left: LEFT, width: num * cell, top: 40, bottom: 30},
      legend: {top: 0, left: 0, textStyle: {color: palette.soft}, icon: "roundRect", itemWidth: 14, itemHeight: 3},
      xAxis: axis({
        type: "value",
        min: 0,
        max: SECONDS,
        splitLine: {show: false},
        axisLabel: {formatter: axisSeconds, showMaxLabel: false},
      }),
      yAxis: axis({
        type: "value",
        min: 0,
        max: top,
        interval: step,
        axisLabel: {formatter: value => bytes(value).replace(".0 ", " ")},
      }),
      tooltip: tooltip(
        items =>
          tip(
            `after ${seconds(items[0].value[0])}`,
            ...items.map(item => `${item.seriesName}: ${bytes(item.value[1])}`),
            `all ranks: ${bytes(points[items[0].dataIndex][4])}`,
          ),
        {trigger: "axis", axisPointer: {lineStyle: {color: palette.strong}}},
      ),
      series: shown,
    },
    measured ? "Memory of processes over time" : "Bytes of blocks held over time",
  );
}

// The next one of 1, 2, 5, 10, 20 ...
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1, 2, 5, 10].find(factor => factor * power >= least);
}

// The distance of marks on an axis of bytes: a power of two, for four to eight marks.
const byteStep = most => 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, most) / 4)));

const axisSeconds = value =>
  SECONDS < 1e-2
    ? `${+(value * 1e6).toFixed(1)} µs`
    : SECONDS < 2
      ? `${+(value * 1e3).toFixed(2)} ms`
      : SECONDS < 300
        ? `${+value.toFixed(2)} s`
        : `${+(value / 60).toFixed(2)} min`;

const MOST_CELLS = 8000;
const LEFT = 78; // whole pixels, or cells would have seams
const rowHeight = num => (num > 200 ? 2 : num > 100 ? 4 : num > 24 ? 8 : 14);

function drawMemoryMap(figure, ranks, num, cell) {
  const most = ranks.reduce((most, list) => Math.max(most, ...list), 0);
  const least = ranks.reduce((least, list) => Math.min(least, ...list), most);
  const step = roundStep(SECONDS / 9),
    at = place => (SECONDS * (place + 1)) / num,
    round = value => step * Math.floor(value / step + 1e-9);
  chart(
    figure,
    {
      grid: {left: LEFT, width: num * cell, top: 8, height: ranks.length * rowHeight(ranks.length)},
      xAxis: axis({
        type: "category",
        data: Array.from({length: num}, (_, place) => at(place)),
        splitLine: {show: false},
        axisLabel: {
          formatter: value => axisSeconds(round(+value)),
          interval: place => round(at(place)) > round(at(place - 1)),
          hideOverlap: true,
        },
      }),
      yAxis: axis({
        type: "category",
        data: HOSTS.map((_, rank) => String(rank)),
        inverse: true,
        name: "rank",
        nameLocation: "middle",
        nameGap: 40,
        splitLine: {show: false},
      }),
      visualMap: {
        type: "continuous",
        min: least,
        max: Math.max(most, least + 1),
        orient: "horizontal",
        left: "center",
        bottom: 2,
        itemWidth: 12,
        itemHeight: 220,
        inRange: {color: palette.scale},
        text: [bytes(most), bytes(least)],
        textStyle: {color: palette.soft},
      },
      tooltip: tooltip(({value: [place, rank, value]}) =>
        tip(`rank ${rank}: ${bytes(value)}`, `around ${seconds((SECONDS * (place + 0.5)) / num)}`),
      ),
      series: [
        {
          type: "heatmap",
          progressive: 0,
          data: ranks.flatMap((list, rank) => list.map((value, place) => [place, rank, value])),
          emphasis: {disabled: true},
        },
      ],
    },
    "Memory of each rank over time",
  );
}
