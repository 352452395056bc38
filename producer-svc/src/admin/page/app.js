// The page as a story: what is streamed is shown at once, what lies in the database or in topics is
// asked for when the stream says that something has changed.

import { recordsIn, showGroups, showTopics } from "./cluster.js";
import { byId, clock, element, keep, number, say } from "./elements.js";
import { refreshFigures, revenue } from "./figures.js";
import { letterCount, refreshLetters } from "./letters.js";
import { followOrders } from "./orders.js";
import { follow } from "./server.js";

const shown = { overview: null, cluster: null, letters: null };

/** Of the stream of the cluster: "connecting", "live", "lost", "refused". And when it was last live. */
let connection = "connecting";
let heard = null;

const dash = (value, text = number) => (value === null || value === undefined ? "–" : text(value));

function tiles() {
  const { overview, cluster, letters } = shown;
  const groups = cluster?.groups ?? null;
  const topics = cluster?.topics?.filter((topic) => !topic.internal) ?? null;
  const lag = groups?.reduce((sum, group) => sum + group.lag, 0) ?? null;
  const records = topics?.reduce((sum, topic) => sum + recordsIn(topic), 0);
  return [
    ...serviceTiles(cluster?.services),
    { name: "Lag", value: dash(lag), note: groups ? `of ${groups.length} groups` : "", tone: lag > 0 ? "warn" : "" },
    { name: "Dead letters", value: letterCount(letters), note: "not replayed", tone: letters > 0 ? "bad" : "" },
    { name: "Records", value: dash(records), note: topics ? `in ${topics.length} topics` : "" },
    { name: "Books", value: dash(overview?.books), note: "with events" },
    { name: "Views", value: dash(overview?.views), note: overview ? `${number(overview.downloads)} downloads` : "" },
    { name: "Purchases", value: dash(overview?.purchases), note: overview ? revenue(overview.revenue, "compact") : "" },
    { name: "Rating", value: dash(overview?.averageRating, (value) => value.toFixed(2)), note: overview ? ratingNote(overview) : "" },
  ];
}

const ratingNote = (overview) => (overview.averageRating === null ? "none yet" : `of ${number(overview.ratings)} ratings`);

const STATES = { ready: "good", degraded: "warn", "not-ready": "bad", away: "bad" };

/** Of a service that is silent, nothing that was known is good any more. */
function serviceTiles(services) {
  if (connection === "connecting" && heard === null) return [{ name: "Services", value: "–", note: "" }];
  if (connection !== "live") {
    const note = connection === "refused" ? "the login is not valid any more" : "no connection";
    return [{ name: "Services", value: "unknown", note, tone: "bad" }];
  }
  if (!services) return [{ name: "Services", value: "–", note: "" }];
  return services.map(({ name, state, parts, problem }) => ({
    name,
    value: state.replace("-", " "),
    note: problem ? "does not answer" : parts.map((part) => part.name).join(", ") || "all parts",
    tone: STATES[state],
    title: problem ?? parts.map((part) => `${part.name}: ${part.problem}`).join("\n"),
  }));
}

function drawTiles() {
  keep(
    byId("tiles"),
    tiles(),
    (tile) => tile.name,
    (tile) =>
      element("dl", { class: "tile" }, element("dt", {}, tile.name), element("dd", {}, element("span"), element("span", { class: "note" }))),
    (node, tile) => {
      const [value, note] = node.lastElementChild.children;
      say(value, tile.value);
      say(note, tile.note);
      node.className = `tile ${tile.tone ?? ""}`;
      node.title = tile.title ?? "";
    },
  );
}

function onCluster(cluster) {
  shown.cluster = cluster.problem ? { ...cluster, groups: null, topics: null } : cluster;
  heard = Date.now();
  drawProblem();
  if (!cluster.problem) {
    showGroups(cluster.groups);
    showTopics(cluster.topics);
  }
  drawTiles();
  changed();
}

/** Between two questions about figures and letters, however much happens. */
const PAUSE = 3000;
let asking = false;
let askAgain = false;
/** Where the dead-letter topics ended when the letters were last listed, which reads much of them. */
let listedUntil = null;

const lettersUntil = () =>
  (shown.cluster?.topics ?? [])
    .filter(({ topic }) => topic.endsWith("-dlt"))
    .flatMap(({ topic, partitions }) => partitions.map(({ first, end }) => `${topic} ${first} ${end}`))
    .join();

/** Asks now, and once more after a while if something has happened meanwhile: figures are stored a
 *  moment after their record was written. */
async function changed() {
  askAgain = true;
  if (asking) return;
  asking = true;
  try {
    // What nobody looks at is asked when somebody does.
    while (askAgain && !document.hidden) {
      askAgain = false;
      const until = lettersUntil();
      const known = until === listedUntil ? shown.letters : refreshLetters();
      const [overview, letters] = await Promise.all([refreshFigures(), known]);
      listedUntil = letters === null ? null : until;
      Object.assign(shown, { overview, letters });
      drawTiles();
      await new Promise((done) => setTimeout(done, PAUSE));
    }
  } finally {
    asking = false;
  }
}

/** What is wrong with all that is shown: that it is old, or that Kafka does not answer. */
function drawProblem() {
  const old = connection !== "live" && heard !== null;
  const text = old ? `What is shown is as of ${clock(heard)}: ${TOLD[connection]}.` : (shown.cluster?.problem ?? "");
  const problem = byId("problem");
  problem.hidden = !text;
  say(problem, text);
  document.querySelector("main").classList.toggle("old", old);
}

const TOLD = {
  connecting: "connecting",
  live: "live",
  lost: "connection lost, trying again",
  refused: "the login is not valid any more, reload this page",
};

drawTiles();
changed();
document.addEventListener("visibilitychange", changed);
followOrders();
follow("/api/admin/events", { cluster: onCluster }, (state) => {
  connection = state;
  const node = byId("connection");
  say(node, TOLD[state]);
  node.className = `connection ${state}`;
  drawProblem();
  drawTiles();
});
