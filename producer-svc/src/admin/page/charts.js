// Charts as drawings, made of elements.

import { clock, drawn, element, moment, number } from "./elements.js";

export const SERIES = ["views", "downloads", "purchases"];

/** What each counts in a book's score, as the analytics has it. */
const WEIGHT = { views: 1, downloads: 3, purchases: 5 };

export function legend(names) {
  return element("ul", { class: "legend" }, SERIES.map((name) => element("li", { class: name }, names[name])));
}

/** A book's score as a bar of its parts, as wide as `most` is the whole. */
export function scoreBar(book, most) {
  let from = 0;
  const parts = SERIES.map((name) => {
    const width = (100 * book[name] * WEIGHT[name]) / Math.max(most, 1);
    const part = drawn("rect", { class: name, x: from, width, y: 0, height: 10 });
    from += width;
    return part;
  });
  return drawn("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, parts);
}

const HEIGHT = 220;
const EDGE = { top: 12, right: 12, bottom: 26, left: 44 };

/**
 * Lines of figures over time: `rows` have `generatedAt` and the series, the oldest first. Drawn for a
 * place of this width, so that its texts are as large as others.
 */
export function lineChart(rows, label, width) {
  const times = rows.map((row) => Date.parse(row.generatedAt));
  const [first, last] = [times[0], times[times.length - 1]];
  const top = niceTop(Math.max(1, ...rows.flatMap((row) => SERIES.map((name) => row[name]))));
  const right = width - EDGE.right;
  const bottom = HEIGHT - EDGE.bottom;
  const x = (time) => (first === last ? right : EDGE.left + ((time - first) / (last - first)) * (right - EDGE.left));
  const y = (value) => bottom - (value / top) * (bottom - EDGE.top);
  const place = (value) => value.toFixed(1);

  const grid = [0, top / 2, top].map((value) => [
    drawn("line", { class: "grid", x1: EDGE.left, x2: right, y1: place(y(value)), y2: place(y(value)) }),
    drawn("text", { x: EDGE.left - 8, y: place(y(value) + 4), "text-anchor": "end" }, short(value)),
  ]);
  const lines = SERIES.map((name) => {
    const points = rows.map((row, at) => `${place(x(times[at]))} ${place(y(row[name]))}`);
    const newest = rows[rows.length - 1];
    return [
      drawn("path", { class: name, d: `M${points.join("L")}` }),
      drawn("circle", { class: name, cx: place(x(last)), cy: place(y(newest[name])), r: 3.5 }),
    ];
  });
  const sameDay = new Date(first).toDateString() === new Date(last).toDateString();
  const time = sameDay ? clock : moment;
  const ends = [drawn("text", { x: right, y: HEIGHT - 6, "text-anchor": "end" }, time(last))];
  if (first !== last) ends.unshift(drawn("text", { x: EDGE.left, y: HEIGHT - 6 }, time(first)));
  return drawn(
    "svg",
    { class: "line-chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label },
    grid.flat(),
    lines.flat(),
    ends,
  );
}

/** The next number above that halves well. */
function niceTop(most) {
  const size = 10 ** Math.floor(Math.log10(most));
  const step = [1, 2, 4, 6, 8, 10].find((times) => times * size >= most);
  return Math.max(2, step * size);
}

const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const short = (value) => (value < 10_000 ? number(value) : COMPACT.format(value));
