// Consumer groups and topics, and a look at what lies in a topic.

import { byId, element, empty, keep, listOrEmpty, moment, number, say, shownText } from "./elements.js";
import { ask } from "./server.js";

const STATES = { Stable: "good", Empty: "warn", Dead: "bad" };

const groupList = element("ul", { class: "rows" });
const groupScroll = element("div", { class: "scroll", tabindex: "0", "aria-label": "Consumer groups" }, groupList);
const noGroups = empty("No consumer group has been seen: start consumer-svc and notifier-svc.");

export function showGroups(groups) {
  listOrEmpty(byId("groups-list"), groupScroll, noGroups, groups.length === 0);
  const lag = groups.reduce((sum, group) => sum + group.lag, 0);
  say(byId("groups-count"), `${number(groups.length)} groups, lag ${number(lag)}`);
  keep(groupList, groups, (group) => group.group, createGroup, updateGroup);
}

function createGroup(group) {
  return element(
    "li",
    {},
    element(
      "details",
      {},
      element(
        "summary",
        { class: "row" },
        element("h3", { class: "grow" }, group.group),
        element("span", { class: "quiet hide-narrow" }),
        element("span", { class: "chip" }),
        element("span", { class: "lag" }),
      ),
      element(
        "div",
        {},
        element("p", { class: "quiet" }),
        element(
          "table",
          {},
          head(["Topic", "Partition", "Committed", "End", "Lag"], 1, "Member"),
          element("tbody"),
        ),
      ),
    ),
  );
}

/** A table's head; columns from `numbers` on hold numbers, `last` does not fit a phone. */
function head(names, numbers, last) {
  const cell = (name, at) => element("th", { scope: "col", class: at >= numbers ? "number" : null }, name);
  const cells = names.map(cell);
  if (last) cells.push(element("th", { scope: "col", class: "hide-narrow" }, last));
  return element("thead", {}, element("tr", {}, cells));
}

function updateGroup(row, group) {
  const [summary, body] = row.firstElementChild.children;
  const [, members, state, lag] = summary.children;
  say(members, group.members.length === 1 ? "1 member" : `${group.members.length} members`);
  say(state, group.state);
  state.className = `chip ${STATES[group.state] ?? "warn"}`;
  lagText(lag, group.lag);
  lag.title = "records not handled yet";
  const [note, table] = body.children;
  const clients = new Map(group.members.map((member) => [member.memberId, member.clientId]));
  const names = group.members.map((member) => `${member.clientId} at ${member.host}`);
  say(note, group.problem ?? [names.join(", "), group.assignor].filter(Boolean).join(" · "));
  keep(
    table.lastElementChild,
    group.partitions,
    (of) => `${of.topic} ${of.partition}`,
    () => element("tr", {}, [0, 1, 2, 3, 4, 5].map(partitionCell)),
    (line, of) => {
      const [topic, partition, committed, end, behind, member] = line.children;
      say(topic, of.topic);
      say(partition, of.partition);
      say(committed, orDash(of.committed));
      say(end, orDash(of.end));
      lagText(behind.firstElementChild, of.lag);
      say(member, of.memberId === null ? "nobody" : (clients.get(of.memberId) ?? of.memberId));
      member.title = of.memberId ?? "";
    },
  );
}

const partitionCell = (at) =>
  at === 4
    ? element("td", { class: "number" }, element("span", { class: "lag" }))
    : element("td", { class: ["", "number", "number", "number", "", "hide-narrow"][at] });

const orDash = (value) => (value === null ? "–" : number(value));

function lagText(node, lag) {
  say(node, orDash(lag));
  node.className = `lag ${lag > 0 ? "warn" : "good"}`;
}

const topicRows = element("tbody");
const topicTable = element(
  "div",
  { class: "scroll", tabindex: "0", "aria-label": "Topics" },
  element("table", {}, head(["Topic", "Partitions", "Records", ""], 1), topicRows),
);
const noTopics = empty("There are no topics yet.");
const internal = byId("topics-internal");
let topics = [];

export function showTopics(seen) {
  topics = seen;
  const shown = topics.filter((topic) => internal.checked || !topic.internal);
  listOrEmpty(byId("topics-list"), topicTable, noTopics, shown.length === 0);
  keep(topicRows, shown, (topic) => topic.topic, createTopic, updateTopic);
}

internal.addEventListener("change", () => showTopics(topics));

/** Records that are still in a topic, gaps counted. */
export const recordsIn = (topic) => topic.partitions.reduce((sum, { first, end }) => sum + ((end ?? 0) - (first ?? 0)), 0);

function createTopic({ topic }) {
  const look = element("button", { type: "button", "aria-label": `Look into ${topic}`, onclick: () => openMessages(topic) }, "Look");
  return element(
    "tr",
    {},
    element("td", {}, topic),
    element("td", { class: "number" }),
    element("td", { class: "number" }),
    element("td", { class: "number" }, look),
  );
}

function updateTopic(row, topic) {
  const [, partitions, records] = row.children;
  say(partitions, topic.partitions.length);
  say(records, number(recordsIn(topic)));
  records.title = topic.partitions.map((of) => `${of.partition}: ${of.first ?? "?"} to ${of.end ?? "?"}`).join("\n");
}

const dialog = byId("messages");
let lookedAt = "";

function openMessages(topic) {
  lookedAt = topic;
  say(byId("messages-title"), topic);
  byId("messages-list").replaceChildren();
  dialog.showModal();
  look();
}

async function look() {
  const topic = lookedAt;
  const status = byId("messages-status");
  const again = byId("messages-again");
  say(status, "reading …");
  again.disabled = true;
  try {
    const { messages, unreadable, complete } = await ask(`/api/admin/topics/${encodeURIComponent(topic)}/messages`);
    if (topic !== lookedAt) return;
    say(status, `the newest ${number(messages.length)}${complete ? "" : "; the time was up before all was read"}`);
    const list = element("ul", { class: "rows" }, unreadable.map(unread), messages.map(message));
    const nothing = complete ? "Nothing lies here." : "Nothing could be read in time.";
    byId("messages-list").replaceChildren(list.childElementCount > 0 ? list : empty(nothing));
  } catch (error) {
    if (topic === lookedAt) say(status, error.message);
  } finally {
    again.disabled = false;
  }
}

function unread({ partition, offset, problem, batch }) {
  const what = batch ? "A batch that cannot be read; what lies behind it in its partition is not shown" : "A record that cannot be read";
  return element(
    "li",
    {},
    element(
      "div",
      { class: "row" },
      element("span", { class: "quiet grow" }, `partition ${partition}, offset ${number(offset)}`),
      element("span", { class: "chip bad" }, "unreadable"),
    ),
    element("p", {}, `${what}: ${problem}`),
  );
}

function message({ partition, offset, time, key, value, headers }) {
  const lines = headers.map((header) => `${header.name}: ${shownText(header.value)}`);
  return element(
    "li",
    {},
    element(
      "div",
      { class: "row" },
      element("span", { class: "quiet" }, `partition ${partition}, offset ${number(offset)}`),
      element("code", { class: "grow" }, shownText(key)),
      element("span", { class: "quiet" }, moment(time)),
    ),
    element("pre", {}, shownText(value)),
    headers.length > 0
      ? element("details", {}, element("summary", { class: "quiet" }, `${headers.length} headers`), element("pre", {}, lines.join("\n")))
      : null,
  );
}

byId("messages-again").addEventListener("click", look);
byId("messages-close").addEventListener("click", () => dialog.close());
