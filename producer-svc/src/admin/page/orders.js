// Orders as they arrive, from the stream that everybody may follow.

import { byId, clock, element, empty, keep, listOrEmpty, number, say } from "./elements.js";
import { follow } from "./server.js";

/** Orders that are shown, the newest. */
const SHOWN = 50;

const CHIPS = { CREATED: "warn", CONFIRMED: "good", REJECTED: "bad" };
const ORDER =
  `curl -X POST ${location.origin}/api/orders -H 'content-type: application/json' ` +
  `-d '{"product":"Laptop","quantity":1}'`;

const place = byId("orders-list");
const list = element("ul", { class: "rows" });
const scroll = element("div", { class: "scroll", tabindex: "0", "aria-label": "Orders" }, list);
const nothing = empty("No order has come since this page was opened. Place one:", ORDER);

/** The newest first; an order that goes on keeps its place. */
let orders = [];
let seen = 0;
let drawing = false;

function take(event) {
  const known = orders.find((order) => order.orderId === event.orderId);
  if (known) Object.assign(known, { reason: undefined }, event);
  else {
    seen += 1;
    orders = [event, ...orders].slice(0, SHOWN);
  }
  // Once a frame, however many have come.
  if (!drawing) requestAnimationFrame(draw);
  drawing = true;
}

function draw() {
  drawing = false;
  listOrEmpty(place, scroll, nothing, orders.length === 0);
  say(byId("orders-count"), seen === 0 ? "" : `${number(seen)} since ${clock(opened)}`);
  keep(list, orders, (order) => order.orderId, create, update);
}

const opened = Date.now();

function create() {
  return element(
    "li",
    { class: "new" },
    element(
      "div",
      { class: "row" },
      element("span", { class: "chip" }),
      element("span", { class: "id grow" }),
      element("span", { class: "quiet" }),
    ),
    element("p", { class: "quiet" }),
  );
}

function update(row, order) {
  const [chip, id, time] = row.firstElementChild.children;
  say(chip, order.status);
  chip.className = `chip ${CHIPS[order.status] ?? ""}`;
  say(id, order.orderId);
  say(time, clock(order.time));
  time.title = `${order.topic}, partition ${order.partition}, offset ${order.offset}`;
  say(row.lastElementChild, order.reason ?? "");
  row.lastElementChild.hidden = !order.reason;
}

export function followOrders() {
  draw();
  follow("/api/orders/events", { status: take }, (state) => {
    place.dataset.state = state;
  });
}
