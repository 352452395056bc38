// Talking to the service: answers, and streams that are closed while nobody looks.

/** What the service answers; an error's message is what the service says is wrong. */
export async function ask(path, options = {}) {
  let response;
  try {
    // An address with name and password in it is good for the page, and for no question of a script.
    response = await fetch(new URL(path, location.origin), { cache: "no-store", ...options });
  } catch {
    throw new Refusal("the service does not answer", 0);
  }
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new Refusal(body?.detail ?? `status ${response.status}`, response.status, body);
  return body;
}

export class Refusal extends Error {
  constructor(message, status, problem) {
    super(message);
    this.status = status;
    this.problem = problem;
  }
}

export const letterPath = ({ topic, partition, offset }) =>
  `/api/admin/dead-letters/${encodeURIComponent(topic)}/${partition}/${offset}`;

/** How long a stream that was refused is left alone. */
const PATIENCE = 5000;

/**
 * Follows server-sent events while the page is seen: a browser has six connections to a service, for
 * all its tabs. `handlers` are by event name, `state` hears "live" and "lost".
 */
export function follow(path, handlers, state) {
  let source = null;
  let waiting = 0;
  const open = () => {
    clearTimeout(waiting);
    source = new EventSource(new URL(path, location.origin));
    source.onopen = () => state("live");
    source.onerror = () => {
      state("lost");
      // A refusal ends it for good; what broke off, the browser takes up again by itself.
      if (source?.readyState === EventSource.CLOSED) {
        source = null;
        waiting = setTimeout(open, PATIENCE);
      }
    };
    for (const [name, handler] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => handler(JSON.parse(event.data)));
    }
  };
  document.addEventListener("visibilitychange", () => {
    clearTimeout(waiting);
    source?.close();
    source = null;
    if (!document.hidden) open();
  });
  if (!document.hidden) open();
}
