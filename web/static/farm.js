// @ts-check
/**
 * The farm page: what the live feed tells, drawn.
 *
 * Owns the connection, the state that follows from its messages, and the drawing of printers and
 * jobs. Sends nothing. All text goes in as text, never as markup.
 *
 * @typedef {{ code: string, text?: string }} Reason
 * @typedef {{ attempt: string, job: string, title: string, copy_number: number }} Current
 * @typedef {{ temperature_c: number, target_c?: number | null }} Heat
 * @typedef {{ heaters?: Record<string, Heat>, progress?: number, layer?: number, layers?: number,
 *   left_s?: number }} Telemetry
 * @typedef {{ printer: string, at: number, telemetry: Telemetry }} Readings
 * @typedef {{ id: string, name: string, state: string, reasons: Reason[], current: Current | null,
 *   local_print: string, heard_at: number | null }} Printer
 * @typedef {{ waiting: number, assigned: number, printing: number, held: number, done: number,
 *   dropped: number }} Counts
 * @typedef {{ material: string, color: string, nozzle_mm: number | null, tags: string[],
 *   printers: string[] }} Needs
 * @typedef {{ id: string, title: string, state: string, reason: string, copies: number,
 *   counts: Counts, requirements: Needs, lane: string, priority: number,
 *   finished_at: number | null }} Job
 * @typedef {{ connected: boolean, counts: { printers: Record<string, number>,
 *   copies_waiting: number } }} Farm
 * @typedef {{ type: "snapshot" | "change", sequence: number, at: number, farm?: Farm,
 *   jobs?: Job[], printers?: Printer[], readings?: Readings[] }} Message
 * @typedef {{ sequence: number, farm: Farm | null, jobs: Map<string, Job>,
 *   printers: Map<string, Printer>, readings: Map<string, Readings>, skew_s: number }} State
 */

const STALE_S = 10;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 8000;
const FINISHED_SHOWN = 20;
const CLOSE_LOGGED_OUT = 4401;

/** Signs stand beside colour and word, for whoever does not see the colour. */
const SIGNS = /** @type {Record<string, string>} */ ({
  printing: "▶", preparing: "↻", paused: "⏸", idle: "○", held: "✋", maintenance: "🔧",
  offline: "⌁", busy: "●", not_ready: "⚠", unsettled: "?", waiting: "…", completed: "✓",
  cancelled: "✕",
});
const WORDS = /** @type {Record<string, string>} */ ({
  not_ready: "not ready", unsettled: "lost contact", busy: "prints something else",
});

/** @returns {State} */
export function emptyState() {
  return {
    sequence: 0, farm: null, jobs: new Map(), printers: new Map(), readings: new Map(), skew_s: 0,
  };
}

/**
 * The state after a message, or null when one before it was missed.
 * @param {State} state @param {Message} message @param {number} now_s
 * @returns {State | null}
 */
export function reduce(state, message, now_s) {
  const begins = message.type === "snapshot";
  if (!begins && message.sequence !== state.sequence + 1) return null;
  const base = begins ? emptyState() : state;
  return {
    sequence: message.sequence,
    farm: message.farm ?? base.farm,
    jobs: new Map([...base.jobs, ...(message.jobs ?? []).map((j) => pair(j.id, j))]),
    printers: new Map([...base.printers, ...(message.printers ?? []).map((p) => pair(p.id, p))]),
    readings: new Map([...base.readings, ...(message.readings ?? []).map((r) => pair(r.printer, r))]),
    skew_s: now_s - message.at,
  };
}

/** @template V @param {string} key @param {V} value @returns {[string, V]} */
function pair(key, value) {
  return [key, value];
}

/** @param {number} seconds */
export function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes >= 60) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} m`;
  return minutes ? `${minutes} m` : `${Math.max(0, Math.floor(seconds))} s`;
}

/** @param {Job} job */
export function copiesText(job) {
  const counts = job.counts;
  const parts = [`${counts.done}/${job.copies} done`];
  for (const name of /** @type {const} */ (["printing", "assigned", "waiting", "held", "dropped"])) {
    if (counts[name]) parts.push(`${counts[name]} ${name}`);
  }
  return parts.join(", ");
}

/** @param {Needs} needs */
export function needsText(needs) {
  const parts = [needs.material, needs.color, needs.nozzle_mm ? `${needs.nozzle_mm} mm` : ""];
  parts.push(...needs.tags, needs.printers.length ? `on ${needs.printers.join(", ")}` : "");
  return parts.filter(Boolean).join(" · ") || "any printer";
}

/** @param {string} tag @param {string} className @param {string} [text] */
function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** @param {string} state */
function stateElement(state) {
  return element("span", "state", `${SIGNS[state] ?? ""} ${WORDS[state] ?? state}`.trim());
}

/** @param {Printer} printer @param {Readings | undefined} readings @param {number} now_s */
function card(printer, readings, now_s) {
  const told = readings?.telemetry ?? {};
  const age_s = readings ? now_s - readings.at : null;
  const made = element("article", `card s-${printer.state}`);
  const head = element("div", "head");
  head.append(element("span", "name", printer.name), stateElement(printer.state));
  const current = printer.current;
  const why = printer.reasons.map((r) => r.text || r.code).join("; ");
  const fact = current ? `${current.title}, copy ${current.copy_number}` : printer.local_print || why;
  const bar = document.createElement("progress");
  bar.max = 1;
  bar.value = current ? (told.progress ?? 0) : 0;
  bar.setAttribute("aria-label", `progress of ${printer.name}`);
  const numbers = element("div", "numbers");
  for (const text of numbersOf(printer, told)) numbers.append(element("span", "", text));
  if (age_s !== null && age_s > STALE_S) {
    numbers.append(element("span", "", `as of ${duration(age_s)} ago`));
    numbers.classList.add("stale");
  }
  if (printer.state === "offline" && printer.heard_at !== null) {
    numbers.append(element("span", "", `last heard ${duration(now_s - printer.heard_at)} ago`));
  }
  made.append(head, element("div", "fact", fact), bar, numbers);
  return made;
}

/** @param {Printer} printer @param {Telemetry} told @returns {string[]} */
function numbersOf(printer, told) {
  const found = [];
  if (printer.current && told.progress !== undefined) found.push(`${Math.round(told.progress * 100)} %`);
  if (printer.current && told.left_s !== undefined) found.push(`${duration(told.left_s)} left`);
  if (printer.current && told.layers) found.push(`layer ${told.layer ?? 0}/${told.layers}`);
  for (const [name, sign] of [["extruder", "nozzle"], ["heater_bed", "bed"]]) {
    const heat = told.heaters?.[name];
    if (!heat) continue;
    const target = heat.target_c ? `/${Math.round(heat.target_c)}` : "";
    found.push(`${sign} ${Math.round(heat.temperature_c)}${target} °C`);
  }
  return found;
}

/** @param {Job} job */
function row(job) {
  // An active job is one that prints or one that waits: the word says which.
  const active = job.counts.printing ? "printing" : "waiting";
  const state = job.state === "active" ? active : job.state;
  const made = element("li", `row s-${state}`);
  const title = element("span", "title", job.title);
  title.title = job.id;
  made.append(
    title,
    stateElement(state),
    element("span", "copies", copiesText(job)),
    element("span", "needs", needsText(job.requirements)),
    element("span", "why", job.state === "held" ? job.reason : ""),
  );
  return made;
}

/**
 * Jobs that are not finished in the order of the queue, then the last finished ones.
 * @param {Map<string, Job>} jobs @returns {Job[]}
 */
export function inOrder(jobs) {
  const all = [...jobs.values()];
  const finished = all.filter((job) => job.finished_at !== null);
  finished.sort((a, b) => (b.finished_at ?? 0) - (a.finished_at ?? 0));
  const waiting = all.filter((job) => job.finished_at === null);
  waiting.sort((a, b) => a.lane.localeCompare(b.lane) || b.priority - a.priority);
  return [...waiting, ...finished.slice(0, FINISHED_SHOWN)];
}

/** @param {string} id */
function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/** @param {State} state @param {boolean} isLive */
function draw(state, isLive) {
  const now_s = Date.now() / 1000 - state.skew_s;
  const printers = [...state.printers.values()].sort((a, b) => a.name.localeCompare(b.name));
  byId("printers").replaceChildren(
    ...printers.map((printer) => card(printer, state.readings.get(printer.id), now_s)),
  );
  byId("jobs").replaceChildren(...inOrder(state.jobs).map(row));
  byId("no-printers").hidden = printers.length > 0 || !isLive;
  byId("no-jobs").hidden = state.jobs.size > 0 || !isLive;
  const counts = Object.entries(state.farm?.counts.printers ?? {});
  byId("counts").textContent = counts.map(([word, n]) => `${n} ${WORDS[word] ?? word}`).join(" · ");
}

/**
 * Go to the login once the session is over. A refused handshake tells a page no more than that
 * there is no connection, so that is asked.
 * @param {number} code
 */
async function leaveIfLoggedOut(code) {
  if (code !== CLOSE_LOGGED_OUT) {
    const answer = await fetch("/api/v1/me").catch(() => null);
    if (answer?.status !== 401) return;
  }
  location.replace("/login");
}

async function logOut() {
  const csrf = document.body.dataset.csrf ?? "";
  const answer = await fetch("/api/v1/logout", {
    method: "POST", headers: { "X-Moonfleet-Csrf": csrf },
  }).catch(() => null);
  if (answer?.ok || answer?.status === 401) location.replace("/login");
  else byId("link").textContent = "not logged out: no contact";
}

class Page {
  constructor() {
    this.state = emptyState();
    this.isLive = false;
    this.lost_ms = 0;
    this.backoff_ms = BACKOFF_FIRST_MS;
    this.isDrawing = false;
  }

  connect() {
    const socket = new WebSocket(`${location.origin.replace("http", "ws")}/api/v1/live`);
    socket.addEventListener("message", (event) => this.take(JSON.parse(event.data), socket));
    socket.addEventListener("close", (event) => {
      if (this.isLive) this.lost_ms = Date.now();
      this.isLive = false;
      this.drawSoon();
      leaveIfLoggedOut(event.code);
      setTimeout(() => this.connect(), this.backoff_ms);
      this.backoff_ms = Math.min(this.backoff_ms * 2, BACKOFF_MAX_MS);
    });
  }

  /** @param {Message} message @param {WebSocket} socket */
  take(message, socket) {
    const next = reduce(this.state, message, Date.now() / 1000);
    if (next === null) {
      socket.close();
      return;
    }
    this.state = next;
    this.isLive = true;
    this.backoff_ms = BACKOFF_FIRST_MS;
    this.drawSoon();
  }

  drawSoon() {
    if (this.isDrawing) return;
    this.isDrawing = true;
    setTimeout(() => {
      this.isDrawing = false;
      this.draw();
    }, 50);
  }

  draw() {
    draw(this.state, this.isLive);
    const link = byId("link");
    link.classList.toggle("live", this.isLive && this.state.farm?.connected === true);
    document.body.classList.toggle("stale", !this.isLive);
    if (!this.isLive) {
      const age = this.lost_ms ? ` · shown is ${duration((Date.now() - this.lost_ms) / 1000)} old` : "";
      link.textContent = `no contact${age}`;
    } else {
      link.textContent = this.state.farm?.connected ? "live" : "live · no broker";
    }
  }
}

if (typeof document !== "undefined") {
  const page = new Page();
  page.connect();
  byId("logout").addEventListener("click", logOut);
  setInterval(() => page.draw(), 1000);
}
