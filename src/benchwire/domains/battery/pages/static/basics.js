// What all pages of the battery share: elements without markup, numbers with units, times in UTC,
// and questions to the server. Texts only ever become text nodes; `escape` serves the chart's
// tooltips, which are markup.
export const DASH = "–";

export const h = (tag, properties = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

export const icon = (name) => h("i", { class: "q-icon notranslate material-icons", "aria-hidden": "true" }, name);

export const slot = (root, name) => root.querySelector(`[data-bw="${name}"]`);

// Sets a text only where it differs, so that a selection in it survives.
export const put = (element, text) => {
  if (element && element.textContent !== text) element.textContent = text;
};

const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
export const escape = (text) => String(text).replace(/[&<>"']/g, (sign) => ENTITIES[sign]);

export const isKnown = (value) => typeof value === "number" && Number.isFinite(value);

// Digits by size: cells differ by millivolts, packs by tenths.
export const number = (value, unit = "") => {
  if (!isKnown(value)) return DASH;
  const size = Math.abs(value);
  const digits = unit === "V" && size < 10 ? 3 : size >= 10000 ? 0 : size < 0.1 && size > 0 ? 4 : size < 10 && unit !== "%" ? 2 : 1;
  const text = value.toLocaleString("en-US", { maximumFractionDigits: digits }).replaceAll(",", "\u202f");
  return text === "-0" ? "0" : text;
};

export const quantity = (value, unit) => (isKnown(value) ? `${number(value, unit)}\u00a0${unit}` : DASH);

export const whole = (count) => (isKnown(count) ? Math.round(count).toLocaleString("en-US").replaceAll(",", "\u202f") : DASH);

export const milliseconds = (text) => (text ? Date.parse(text) : NaN);

export const iso = (at) => new Date(at).toISOString().replace(".000Z", "Z");

export const clock = (at, withSeconds = true) =>
  Number.isFinite(at) ? new Date(at).toISOString().slice(0, withSeconds ? 19 : 16).replace("T", " ") : DASH;

export const MINUTE = 60e3, HOUR = 3600e3, DAY = 86400e3;

export const lasting = (ms) => {
  if (!Number.isFinite(ms)) return DASH;
  if (ms < 1000) return "a moment";
  for (const [size, word] of [[DAY, "d"], [HOUR, "h"], [MINUTE, "min"]]) {
    if (ms >= size) {
      const count = ms / size;
      return `${count.toFixed(count < 10 && !Number.isInteger(count) ? 1 : 0)} ${word}`;
    }
  }
  return `${Math.round(ms / 1000)} s`;
};

export const ago = (seconds) => (isKnown(seconds) ? (seconds < 1 ? "now" : `${lasting(seconds * 1000)} ago`) : DASH);

export const devicePath = (group, device, what = "") => `/${group}/${encodeURIComponent(device)}${what && `/${what}`}`;

export const address = (path, query = {}) => {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
};

const sentence = async (answer) => {
  try {
    const { detail } = await answer.json();
    if (typeof detail === "string") return detail;
    if (Array.isArray(detail)) return detail.map((item) => `${(item.loc || []).slice(-1)}: ${item.msg}`).join("; ");
  } catch {
    // not JSON: the status has to do
  }
  return `The server answered ${answer.status}.`;
};

export const AWAY = "The server cannot be reached.";

// Gives the answer's JSON, or throws an error whose message is for people. A request that was given
// up throws an AbortError.
export const ask = async (path, query, signal) => {
  let answer;
  try {
    answer = await fetch(address(path, query), { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(AWAY);
  }
  if (!answer.ok) throw Object.assign(new Error(await sentence(answer)), { status: answer.status });
  return answer.json();
};

// Does one piece of work at a time; of those asked for meanwhile only the newest is done.
export class Newest {
  constructor(work) {
    this.work = work;
  }

  async ask(...given) {
    this.wanted = given;
    if (this.isBusy) return;
    this.isBusy = true;
    while (this.wanted) {
      const now = this.wanted;
      this.wanted = null;
      await this.work(...now);
    }
    this.isBusy = false;
  }
}

// Calls once the calls have stopped coming.
export const settled = (work, ms) => {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), ms);
  };
};

// Calls when an element comes into view for the first time; figures below the fold cost nothing.
export const whenSeen = (element, work) => {
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    work();
  }, { rootMargin: "120px" });
  observer.observe(element);
};

// Calls now and then again and again while the page is looked at, until the element is gone.
export const repeatedly = (element, ms, work) => {
  const turn = async () => {
    if (!element.isConnected) return;
    if (!document.hidden) await work();
    setTimeout(turn, ms);
  };
  turn();
};

export const options = (choices, chosen) => choices.map(([value, text]) => h("option", { value, selected: value === chosen }, text));

export const select = (label, choices, chosen, onchange) =>
  h("label", { class: "bt-field" }, h("span", {}, label),
    h("select", { onchange: (event) => onchange(event.target.value) }, ...options(choices, chosen)));

export const isDark = () => document.body.classList.contains("body--dark");
export const ink = () => getComputedStyle(document.documentElement).getPropertyValue("--bw-text").trim();
export const SEVERITY = { info: "#2f86d0", warning: "#d97706", critical: "#d92d20" };
export const PALETTE = ["#0a7cc4", "#d55e00", "#0b9a74", "#b45fa0", "#c98a00", "#5b6ee1"];

// Draws again when the theme changes, until the element is gone.
export const onTheme = (element, draw) => {
  let before = isDark();
  const observer = new MutationObserver(() => {
    if (!element.isConnected) observer.disconnect();
    else if (isDark() !== before) {
      before = isDark();
      draw();
    }
  });
  observer.observe(document.body, { attributes: true, attributeFilter: ["class"] });
};
