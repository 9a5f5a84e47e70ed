// All devices with their newest values. The overview is asked for again and again; the anomalies of
// the last day are counted one device after another, once a card has been seen.
import { DAY, DASH, ago, ask, clock, devicePath, h, icon, iso, milliseconds, number, put, quantity, repeatedly, slot, whenSeen, whole } from "./basics.js";

const REFRESH_MS = 5000;
const COUNT_AGAIN_MS = 300e3;
const BRIEF = 8;
const VALUES = [
  ["soh", "State of health", "%"], ["apparent_power", "Power", "kW"], ["current", "Current", "A"],
  ["cell_max_temp", "Hottest cell", "°C"], ["cell_voltage_diff", "Cell spread", "V"],
];
const STATES = { waiting: "waiting to be read", reading: "being read", failed: "not readable" };
export const NO_DATA =
  "There is no storage system yet. Start the server with “benchwire serve --battery-data FOLDER” (or set " +
  "BENCHWIRE_BATTERY_DATA), where FOLDER holds a folder for each device with a CSV file for each signal; " +
  "or send readings with POST /bms/{device}/readings.";

let counting = Promise.resolve();

export const condition = (device) => {
  if (device.is_live) return ["live", "live"];
  if (device.state !== "ready") return [device.state, STATES[device.state] || device.state];
  return ["recorded", "recorded"];
};

// The state of charge as a bar with its number; the bar is empty where it is not known.
export const charge = (soc) => {
  const share = Math.min(100, Math.max(0, Number.isFinite(soc) ? soc : 0));
  return h("div", { class: "bt-charge", role: "img", "aria-label": `State of charge ${quantity(soc, "%")}` },
    h("div", { class: "bt-charge-fill", style: `width:${share}%`, "data-low": share < 20 }));
};

export const progress = (device) => {
  if (device.state !== "reading") return null;
  const percent = Math.round(100 * (device.progress || 0));
  return h("div", { class: "bt-progress" },
    h("progress", { max: 100, value: percent, "aria-label": "Read so far" }), h("span", {}, `${percent} %`));
};

const span = (groups) => {
  const given = Object.values(groups || {}).filter((group) => group && group.first);
  if (!given.length) return DASH;
  const first = Math.min(...given.map((group) => milliseconds(group.first)));
  const last = Math.max(...given.map((group) => milliseconds(group.last)));
  return `${clock(first).slice(0, 10)} to ${clock(last).slice(0, 10)}`;
};

const rows = (groups) => Object.entries(groups || {}).filter(([, group]) => group).map(([name, group]) => `${whole(group.rows)} ${name.toUpperCase()}`).join(" · ");

class Card {
  constructor(device, page) {
    this.id = device.device_id;
    this.device = device;
    this.counted = h("span", { "data-value": "anomalies" }, DASH);
    this.body = h("div", { class: "bt-device-body" });
    this.root = h("article", { class: "bt-device q-card", "data-device": this.id },
      this.body,
      h("div", { class: "bt-line" }, icon("report_problem"), h("span", {}, "Anomalies of the last day "), this.counted));
    this.link = `${page}/${encodeURIComponent(this.id)}`;
    whenSeen(this.root, () => this.count());
  }

  show(device) {
    const key = JSON.stringify(device);
    if (key === this.shown) return;
    this.shown = key;
    this.device = device;
    const latest = device.latest || {};
    const [state, words] = condition(device);
    const hadFocus = this.body.contains(document.activeElement);
    this.body.replaceChildren(
      h("div", { class: "bt-device-head" }, h("a", { href: this.link, class: "bt-name" }, this.id), h("span", { class: "bt-chip", "data-state": state }, words)),
      h("div", { class: "bt-soc" }, h("span", { class: "bt-big", "data-value": "soc" }, number(latest.soc)), h("span", { class: "bt-unit" }, "% SOC")),
      charge(latest.soc),
      h("dl", { class: "bt-values" }, ...VALUES.map(([field, title, unit]) =>
        h("div", {}, h("dt", {}, title), h("dd", { "data-value": field }, quantity(latest[field], unit))))),
      h("div", { class: "bt-faint" }, `Newest value ${latest.timestamp ? `${clock(milliseconds(latest.timestamp))} UTC, ${ago(device.age_s)}` : DASH}`),
      h("div", { class: "bt-faint" }, `${span(device.groups)}${rows(device.groups) ? ` · rows: ${rows(device.groups)}` : ""}`),
      ...[progress(device), device.message ? h("div", { class: device.state === "failed" ? "bt-bad" : "bt-faint" }, device.message) : null].filter(Boolean),
    );
    if (hadFocus) this.body.querySelector("a").focus();
  }

  // One device at a time, as judging takes a processor for a while.
  count() {
    counting = counting.then(() => this.countNow()).catch(() => {});
    setTimeout(() => this.root.isConnected && this.count(), COUNT_AGAIN_MS);
  }

  async countNow() {
    if (!this.root.isConnected || this.device.state !== "ready") {
      // One at a time, however often it is asked for until then.
      clearTimeout(this.later);
      this.later = setTimeout(() => this.root.isConnected && this.countNow().catch(() => {}), REFRESH_MS);
      return;
    }
    let total = 0;
    for (const [name, group] of Object.entries(this.device.groups || {})) {
      if (!group || !group.last) continue;
      const end = milliseconds(group.last) + 1;
      const answer = await ask(devicePath(name, this.id, "anomalies"), { start: iso(end - DAY), end: iso(end), limit: 1 });
      total += answer.total_anomalies;
    }
    put(this.counted, String(total));
    this.counted.dataset.some = String(total > 0);
  }
}

const follow = (root, draw) => {
  const note = slot(root, "note");
  repeatedly(root, REFRESH_MS, async () => {
    try {
      const { devices } = await ask("/bess/overview");
      slot(root, "loading").hidden = true;
      root.dataset.devices = String(devices.length);
      put(note, devices.length ? "" : NO_DATA);
      draw(devices);
    } catch (error) {
      slot(root, "loading").hidden = true;
      put(note, error.message);
    }
  });
};

export const open = (root, { page }) => {
  const list = slot(root, "devices"), summary = slot(root, "summary");
  const cards = new Map();
  follow(root, (devices) => {
    const ids = devices.map((device) => device.device_id);
    for (const [id, card] of cards) {
      if (ids.includes(id)) continue;
      card.root.remove();
      cards.delete(id);
    }
    for (const device of devices) {
      if (!cards.has(device.device_id)) {
        const card = new Card(device, page);
        cards.set(device.device_id, card);
        list.append(card.root);
      }
      cards.get(device.device_id).show(device);
    }
    const live = devices.filter((device) => device.is_live).length;
    const reading = devices.filter((device) => device.state === "reading" || device.state === "waiting").length;
    put(summary, devices.length ? `${devices.length} ${devices.length === 1 ? "device" : "devices"}, ${live} live${reading ? `, ${reading} still to be read` : ""}` : "");
  });
};

export const brief = (root, { page }) => {
  const list = slot(root, "devices");
  follow(root, (devices) => {
    const lines = devices.slice(0, BRIEF).map((device) => {
      const [state, words] = condition(device), latest = device.latest || {};
      return h("a", { href: `${page}/${encodeURIComponent(device.device_id)}`, class: "bt-brief-line", "data-device": device.device_id },
        h("span", { class: "bt-brief-name" }, device.device_id), h("span", { class: "bt-chip", "data-state": state }, words),
        charge(latest.soc), h("span", { class: "bt-brief-soc" }, quantity(latest.soc, "%")), h("span", { class: "bt-brief-power" }, quantity(latest.apparent_power, "kW")));
    });
    if (devices.length > BRIEF) lines.push(h("a", { href: page, class: "bt-faint" }, `and ${devices.length - BRIEF} more`));
    const focused = [...list.children].indexOf(document.activeElement);
    list.replaceChildren(...lines);
    if (focused >= 0 && list.children[focused]) list.children[focused].focus();
  });
};
