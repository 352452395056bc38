// The bookstore: top books, and the history of one.

import { SERIES, legend, lineChart, scoreBar } from "./charts.js";
import { byId, element, empty, keep, listOrEmpty, moment, money, number, say } from "./elements.js";
import { ask } from "./server.js";

const VIEW = `curl -X POST ${location.origin}/api/books/1/views -H 'content-type: application/json' -d '{}'`;

const popular = byId("popular");
const history = byId("history");
const bars = element("ol", { class: "bars" });
const chart = element(
  "div",
  {},
  legend({ views: "views", downloads: "downloads × 3", purchases: "purchases × 5" }),
  bars,
);
const nothing = empty("No figures yet: they come a minute after a book's first event.", VIEW);
const nothingText = nothing.querySelector("p");
let book = null;

/** Asks for the figures; gives the overview, or null where there is none. */
export async function refreshFigures() {
  const [overview] = await Promise.all([
    ask("/api/admin/analytics/overview?limit=3").catch(() => null),
    refreshPopular(),
    book === null ? null : showBook(book),
  ]);
  age = overview && { known: Date.now(), seconds: overview.ageSeconds, interval: intervalOf(overview.history) };
  drawAge();
  return overview;
}

/** How old the figures were when they were asked for, and how often they come. */
let age = null;

/** Seconds between the newest rounds, the shorter pause of two: a longer one was somebody's absence. */
function intervalOf(history) {
  const times = history.map((one) => Date.parse(one.generatedAt) / 1000);
  const pauses = times.slice(1).map((time, at) => Math.abs(times[at] - time));
  return Math.min(...pauses, Infinity);
}

/** Figures that came in no time in which two rounds should have are old, and nobody makes new ones. */
const OLD = 180;

function drawAge() {
  const place = byId("books-age");
  if (!age) return say(place, "");
  const seconds = age.seconds + (Date.now() - age.known) / 1000;
  const usual = Number.isFinite(age.interval) ? 3 * age.interval : 0;
  const old = seconds > Math.max(OLD, usual);
  const at = moment(Date.now() - seconds * 1000);
  say(place, old ? `old: nobody has computed figures since ${at}` : `as of ${at.slice(-8)}`);
  place.classList.toggle("old-figures", old);
}

setInterval(drawAge, 5000);

async function refreshPopular() {
  try {
    const { books } = await ask("/api/admin/analytics/popular");
    const most = Math.max(0, ...books.map((one) => one.score));
    keep(bars, books, (one) => one.bookId, createBar, (row, one) => updateBar(row, one, most));
    listOrEmpty(popular, chart, nothing, books.length === 0);
    if (book === null && books.length > 0) await showBook(books[0].bookId);
  } catch (error) {
    if (error.status !== 404) say(nothingText, `The figures are not to be had: ${error.message}`);
    listOrEmpty(popular, chart, nothing, true);
    if (book === null) listOrEmpty(history, chart, empty("Pick a book to see its figures over time."), true);
  }
}

function createBar(one) {
  const show = () => showBook(one.bookId);
  return element(
    "li",
    {},
    element(
      "button",
      { type: "button", onclick: show },
      element("span", { class: "rank" }),
      element("span", { class: "name" }),
      element("span", { class: "bar-place" }),
      element("span", { class: "score" }),
    ),
  );
}

function updateBar(row, one, most) {
  const [rank, name, place, score] = row.firstElementChild.children;
  say(rank, one.rank);
  say(name, `Book ${one.bookId}`);
  say(score, number(one.score));
  place.replaceChildren(scoreBar(one, most));
  const parts = SERIES.map((series) => `${number(one[series])} ${series}`).join(", ");
  row.firstElementChild.setAttribute("aria-label", `Book ${one.bookId}, score ${one.score}: ${parts}`);
  row.firstElementChild.title = parts;
  row.firstElementChild.setAttribute("aria-pressed", String(one.bookId === book));
}

async function showBook(id) {
  book = id;
  const input = byId("book-id");
  if (document.activeElement !== input) input.value = id;
  for (const row of bars.children) {
    row.firstElementChild.setAttribute("aria-pressed", String(row.dataset.key === String(id)));
  }
  try {
    const figures = await ask(`/api/admin/analytics/books/${id}?limit=200`);
    if (book === id) drawBook(figures);
  } catch (error) {
    if (book === id) history.replaceChildren(empty(error.message));
  }
}

function drawBook(figures) {
  const rows = [...figures.history].sort((a, b) => Date.parse(a.generatedAt) - Date.parse(b.generatedAt));
  const drawing = rows.length > 0 ? [lineChart(rows, `Book ${figures.bookId} over time`, history.clientWidth)] : [];
  history.replaceChildren(
    legend({ views: "views", downloads: "downloads", purchases: "purchases" }),
    ...drawing,
    element(
      "dl",
      { class: "facts" },
      fact("Views", number(figures.views)),
      fact("Downloads", number(figures.downloads)),
      fact("Purchases", number(figures.purchases)),
      fact("Revenue", revenue(figures.revenue)),
      fact("Reviews", number(figures.reviews)),
      fact("Rating", rating(figures)),
    ),
  );
}

const fact = (name, value) => element("div", {}, element("dt", {}, name), element("dd", {}, value));

/** Currencies that are shown; how many more there are is said. */
const CURRENCIES = 6;

export function revenue(sums, notation) {
  const all = Object.entries(sums);
  const shown = all.slice(0, CURRENCIES).map(([currency, minor]) => money(currency, minor, notation));
  if (all.length > CURRENCIES) shown.push(`and ${number(all.length - CURRENCIES)} more currencies`);
  return shown.join(" · ") || "–";
}

const rating = ({ ratings, averageRating }) =>
  averageRating === null ? "–" : `${averageRating.toFixed(2)} (${number(ratings)})`;

byId("book-form").addEventListener("submit", (event) => {
  event.preventDefault();
  showBook(byId("book-id").valueAsNumber);
});
