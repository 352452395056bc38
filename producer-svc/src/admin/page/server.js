// Talking to the service: answers, and streams that are closed while nobody looks.

/** Without it, a browser asks for a login where the password has changed, and the answer waits for that. */
const BY_THE_PAGE = { "x-requested-with": "page" };

/** What the service answers; an error's message is what the service says is wrong. */
export async function ask(path, options = {}) {
  let response;
  try {
    // An address with name and password in it is good for the page, and for no question of a script.
    response = await fetch(new URL(path, location.origin), { cache: "no-store", headers: BY_THE_PAGE, ...options });
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

/** Whether the service answers, and not to this login. */
async function isRefused() {
  try {
    const { status } = await fetch(new URL("/admin/icon.svg", location.origin), { cache: "no-store", headers: BY_THE_PAGE });
    // After too many wrong ones, for a minute.
    return status === 401 || status === 429;
  } catch {
    return false;
  }
}

/** How long a stream that was refused is left alone, and one whose login is not valid any more. */
const PATIENCE = 5000;
const LONG_PATIENCE = 15000;

/**
 * Follows server-sent events while the page is seen: a browser has six connections to a service, for
 * all its tabs. `handlers` are by event name, `state` hears "live", "lost", and "refused" where the login is not
 * valid any more, as after a change of the password.
 */
export function follow(path, handlers, state) {
  let source = null;
  let waiting = 0;
  const close = () => {
    clearTimeout(waiting);
    source?.close();
    source = null;
  };
  const open = () => {
    close();
    const opened = new EventSource(new URL(path, location.origin));
    source = opened;
    opened.onopen = () => {
      clearTimeout(waiting);
      state("live");
    };
    opened.onerror = () => {
      if (opened !== source) return;
      state("lost");
      // What broke off, the browser takes up again by itself; of a refusal it does not say what it was, and
      // at a login that is not valid any more it may wait for another one, for ever.
      clearTimeout(waiting);
      waiting = setTimeout(look, PATIENCE);
    };
    for (const [name, handler] of Object.entries(handlers)) {
      opened.addEventListener(name, (event) => handler(JSON.parse(event.data)));
    }
  };
  const look = async () => {
    const looked = source;
    const refused = await isRefused();
    if (source !== looked || document.hidden) return;
    if (refused) {
      close();
      state("refused");
      waiting = setTimeout(look, LONG_PATIENCE);
    } else if (source === null || source.readyState === EventSource.CLOSED) {
      open();
    } else if (source.readyState === EventSource.CONNECTING) {
      waiting = setTimeout(look, PATIENCE);
    }
  };
  document.addEventListener("visibilitychange", () => {
    close();
    if (!document.hidden) open();
  });
  if (!document.hidden) open();
}
