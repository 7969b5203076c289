"use strict";
// Draw the curves; the tables below them have the same values for readers without scripts.
(() => {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const drawn = [];

  const bands = (attempts) => (u) => {
    // every second attempt is shaded, so that one sees where the training was interrupted
    const { ctx } = u;
    const xs = u.data[0];
    ctx.save();
    ctx.fillStyle = colour("--band");
    let begun = 0;
    for (let i = 1; i <= attempts.length; i += 1) {
      if (i === attempts.length || attempts[i] !== attempts[begun]) {
        if (attempts[begun] % 2 === 0) {
          const left = u.valToPos(begun ? (xs[begun - 1] + xs[begun]) / 2 : xs[begun], "x", true);
          const right = u.valToPos(i < xs.length ? (xs[i - 1] + xs[i]) / 2 : xs[i - 1], "x", true);
          ctx.fillRect(left, u.bbox.top, Math.max(right - left, 1), u.bbox.height);
        }
        begun = i;
      }
    }
    ctx.restore();
  };

  const draw = (figure) => {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const place = figure.querySelector(".plot");
    place.replaceChildren();
    const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    const single = data.x.length === 1;
    const plot = new uPlot({
      width: Math.max(place.clientWidth, 200),
      height: 220,
      scales: { x: { time: false, ...(single ? { range: [data.x[0] - 1, data.x[0] + 1] } : {}) } },
      axes: [{ ...axis, incrs: [1, 2, 5].flatMap((n) => [0, 1, 2, 3, 4, 5, 6, 7].map((e) => n * 10 ** e)).sort((a, b) => a - b) }, { ...axis, size: 64 }],
      legend: { live: true },
      cursor: { drag: { x: true, y: false } },
      series: [
        { label: "epoch", value: (u, x) => (x == null ? "-" : `${x}, attempt ${data.attempts[data.x.indexOf(x)]}`) },
        ...data.series.map((one, n) => ({
          label: one.label,
          stroke: colour(`--series-${n + 1}`),
          width: 2,
          points: { show: data.x.length <= 60 },
          value: (u, y) => (y == null ? "-" : Number(y).toPrecision(5)),
        })),
      ],
      hooks: { drawClear: [bands(data.attempts)] },
    }, [data.x, ...data.series.map((one) => one.values)], place);
    return plot;
  };

  const move = (plot, step) => {
    const last = plot.data[0].length - 1;
    const now = plot.cursor.idx == null ? (step > 0 ? -1 : last + 1) : plot.cursor.idx;
    const next = Math.min(Math.max(now + step, 0), last);
    plot.setCursor({ left: plot.valToPos(plot.data[0][next], "x"), top: plot.bbox.height / devicePixelRatio / 2 });
  };

  const all = [...document.querySelectorAll("figure.chart")];
  const render = () => all.forEach((figure, n) => {
    if (drawn[n]) drawn[n].destroy();
    drawn[n] = draw(figure);
  });
  all.forEach((figure, n) => {
    figure.addEventListener("keydown", (event) => {
      const far = Math.max(Math.round(drawn[n].data[0].length / 20), 1);
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -far, PageDown: far }[event.key];
      if (!step || event.target !== figure) return;
      event.preventDefault();
      move(drawn[n], step);
    });
    new ResizeObserver(() => {
      const width = figure.querySelector(".plot").clientWidth;
      if (drawn[n] && width && width !== drawn[n].width) drawn[n].setSize({ width, height: 220 });
    }).observe(figure);
  });
  render();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
  document.documentElement.dataset.drawn = String(drawn.length);
})();
