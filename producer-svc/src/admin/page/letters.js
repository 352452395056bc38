// Dead letters, and their replay.

import { byId, element, empty, keep, listOrEmpty, moment, number, say, shownText } from "./elements.js";
import { ask, letterPath } from "./server.js";

const place = byId("letters-list");
const status = byId("letters-status");
const replayedToo = byId("letters-replayed");
const list = element("ul", { class: "rows" });
const scroll = element("div", { class: "scroll", tabindex: "0", "aria-label": "Dead letters" }, list);
const nothing = empty("No dead letters: every record could be handled. One that cannot be is kept here, with the reason.");
const failed = empty("");

let letters = [];
let older = false;

const nameOf = ({ topic, partition, offset }) => `${topic}/${partition}/${offset}`;
const isSkip = (letter) => letter.passedOverTo !== undefined;
const openLetters = () => letters.filter((letter) => letter.replayedTo === null && !isSkip(letter));

/** Asks for the letters; gives how many have not been replayed, or null where that is not known. */
export async function refreshLetters() {
  try {
    const listed = await ask("/api/admin/dead-letters");
    ({ letters, older } = listed);
    draw();
    return openLetters().length;
  } catch (error) {
    say(failed.firstElementChild, `The dead letters are not to be had: ${error.message}`);
    listOrEmpty(place, scroll, failed, true);
    return null;
  }
}

function draw() {
  const shown = replayedToo.checked ? letters : openLetters();
  listOrEmpty(place, scroll, nothing, shown.length === 0);
  keep(list, shown, nameOf, create, update);
  if (older && status.textContent === "") say(status, "These are the newest; consumer-svc dlt list has all.");
}

replayedToo.addEventListener("change", draw);

function create(letter) {
  const replay = element("button", { type: "button", class: "main", onclick: () => sendAgain(letter, replay) }, "Replay");
  replay.setAttribute("aria-label", `Replay ${nameOf(letter)}`);
  const more = element("div");
  const details = element("details", {}, element("summary", { class: "quiet" }, "all of it"), more);
  details.addEventListener("toggle", () => details.open && showAll(letter, more));
  return element(
    "li",
    {},
    element("div", { class: "row" }, element("h3", { class: "grow" }), element("span", { class: "chip" }), replay),
    element("p", {}),
    element("p", { class: "quiet" }),
    element("pre", {}),
    details,
  );
}

function update(row, letter) {
  const [top, reason, facts, value] = row.children;
  const [name, chip, button] = top.children;
  const skip = isSkip(letter);
  say(name, skip ? `${nameOf(letter.source)} to ${letter.passedOverTo}` : nameOf(letter.source));
  const to = letter.replayedTo;
  say(chip, skip ? "passed over: no record to replay" : to === null ? "open" : `replayed to ${nameOf(to)}`);
  chip.className = `chip ${to === null && !skip ? "warn" : "good"}`;
  button.hidden = to !== null || skip;
  say(reason, letter.reason);
  const tries = letter.attempts === "1" ? "1 attempt" : `${letter.attempts || "?"} attempts`;
  say(facts, `${letter.group || "unknown group"} · ${tries} · ${moment(letter.time)}`);
  const omitted = letter.omitted ? `(${letter.omitted}: too large for a letter, at the source alone)` : null;
  say(value, omitted ?? shownText(letter.value));
}

async function showAll(letter, more) {
  try {
    const all = await ask(letterPath(letter));
    const headers = all.headers.map((header) => `${header.name}: ${shownText(header.value)}`);
    more.replaceChildren(
      element("p", { class: "quiet" }, `${nameOf(letter)} · key ${shownText(all.key)}`),
      element("p", { class: "quiet" }, all.originalTime ? `record of ${moment(all.originalTime)}` : "a record without a time"),
      element("pre", {}, shownText(all.value)),
      element("pre", {}, headers.join("\n")),
    );
  } catch (error) {
    more.replaceChildren(element("p", { class: "quiet" }, error.message));
  }
}

async function sendAgain(letter, button) {
  button.disabled = true;
  say(status, `replaying ${nameOf(letter.source)} …`);
  try {
    // The browser adds the Origin, by which the service knows this page.
    const { replayedTo } = await ask(`${letterPath(letter)}/replay`, { method: "POST" });
    say(status, `${nameOf(letter.source)} was replayed to ${nameOf(replayedTo)}.`);
  } catch (error) {
    say(status, error.message);
  }
  button.disabled = false;
  await refreshLetters();
}

const skipForm = byId("skip");
skipForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const fields = new FormData(skipForm);
  const { source: topic, first, last, partition } = Object.fromEntries(fields);
  if (!confirm(`Give up offsets ${first} to ${last} of ${topic}, partition ${partition}?`)) return;
  const button = skipForm.querySelector("button");
  button.disabled = true;
  try {
    const range = new URLSearchParams({ first: `${topic}/${partition}/${first}`, last });
    const { told } = await ask(`/api/admin/dead-letters/skip?${range}`, { method: "POST" });
    say(status, `${told.map(({ group }) => group).join(", ")}: the groups are told to pass over offsets ${first} to ${last} of ${topic}, partition ${partition}.`);
    skipForm.reset();
  } catch (error) {
    say(status, error.message);
  }
  button.disabled = false;
  await refreshLetters();
});

export const letterCount = (count) => (count === null ? "–" : number(count));
