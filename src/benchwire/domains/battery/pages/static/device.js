// One device's page: newest values, the curves with everything that steers them, and the cards below.
import { Anomalies } from "./anomalies.js";
import { AWAY, DASH, DAY, HOUR, MINUTE, address, ago, ask, clock, devicePath, h, icon, iso, milliseconds, number, put, repeatedly, select, slot, whenSeen } from "./basics.js";
import { Curves } from "./curves.js";
import { drawFigures, drawReport } from "./figures.js";
import { condition, progress } from "./fleet.js";
import { Forecast } from "./forecast.js";

const REFRESH_MS = 5000;
const AGE_MS = 1000;
const JUDGE_LIVE_MS = 30e3;
const PRESETS = [["Day", DAY], ["Week", 7 * DAY], ["Month", 30 * DAY], ["All", Infinity]];
const TILES = [
  ["bms.soc", "State of charge"], ["bms.soh", "State of health"], ["pcs.apparent_power", "Power"], ["bms.current", "Current"], ["bms.voltage", "Voltage"],
  ["bms.cell_max_temp", "Hottest cell"], ["bms.cell_voltage_diff", "Cell spread"], ["pcs.temp_igbt", "IGBT"],
];
// The merged view has names of its own.
const MERGED = {
  "bms.soc": "bms_soc", "bms.soh": "bms_soh", "bms.voltage": "bms_voltage", "bms.current": "bms_current", "bms.cell_voltage_diff": "bms_cell_v_diff",
  "pcs.apparent_power": "pcs_apparent_power", "pcs.temp_igbt": "pcs_temp_igbt",
};

class Page {
  constructor(root, { device, page, panels, signals }) {
    Object.assign(this, { root, device, page, panels, signals });
    this.streams = [];
    this.tiles = new Map();
    const at = (name) => slot(root, name);
    this.note = at("note");
    this.chip = h("span", { class: "bt-chip" }, "asking");
    this.age = h("span", { class: "bt-faint" });
    this.working = h("div", { style: "flex-basis:100%" });
    at("head").append(h("div", { class: "bt-head" }, h("a", { href: page }, icon("arrow_back"), " All devices"), this.chip, this.age, this.working));
    this.drawTiles(at("tiles"));
    setInterval(() => this.drawAge(), AGE_MS);
    repeatedly(root, REFRESH_MS, () => this.refresh());
  }

  // ------------------------------------------------------------------------- how it stands
  async refresh() {
    let devices;
    try {
      ({ devices } = await ask("/bess/overview"));
      slot(this.root, "loading").hidden = true;
    } catch (error) {
      slot(this.root, "loading").hidden = true;
      put(this.chip, "server not reached");
      this.chip.dataset.state = "failed";
      put(this.note, error.message);
      return;
    }
    const found = devices.find(({ device_id: id }) => id === this.device);
    if (!found) {
      put(this.chip, "unknown");
      put(this.note, `There is no device called “${this.device}”.`);
      return;
    }
    const [state, words] = condition(found);
    put(this.chip, words);
    this.chip.dataset.state = state;
    this.working.replaceChildren(...[progress(found)].filter(Boolean));
    put(this.note, found.message || (found.state === "waiting" ? "The recording will be read shortly." : ""));
    const latest = found.latest || {};
    if (latest.timestamp) {
      const at = milliseconds(latest.timestamp);
      if (found.age_s !== null && found.age_s !== undefined) this.ahead = at + 1000 * found.age_s - Date.now();
      if (!this.isReplaying && !(at < this.latestAt)) {
        this.latestAt = at;
        for (const key of this.tiles.keys()) this.tile(key, latest[key.split(".")[1]]);
      }
    }
    const groups = Object.entries(found.groups || {}).filter(([name, group]) => ["bms", "pcs"].includes(name) && group && group.last);
    if (!this.curves && !this.isStarting && groups.length && (found.state === "ready" || found.is_live)) await this.begin(groups, found);
  }

  drawTiles(root) {
    for (const [key, title] of TILES) {
      const { unit } = this.signals.find((signal) => signal.key === key);
      const value = h("b", { "data-value": key.split(".")[1] }, DASH);
      this.tiles.set(key, value);
      root.append(h("div", { class: "bt-tile" }, h("div", { class: "bt-tile-title" }, title), value, h("span", { class: "bt-unit" }, `\u00a0${unit}`)));
    }
  }

  tile(key, value) {
    put(this.tiles.get(key), number(value, this.signals.find((signal) => signal.key === key).unit));
  }

  drawAge() {
    if (this.latestAt === undefined || this.isReplaying) return;
    const seconds = this.ahead === undefined ? null : Math.max(0, (Date.now() + this.ahead - this.latestAt) / 1000);
    put(this.age, `newest value ${clock(this.latestAt)} UTC, ${ago(seconds)}`);
  }

  // ------------------------------------------------------------------------- the parts
  async begin(groups, found) {
    this.isStarting = true;
    try {
      this.available = await this.metrics(groups.map(([name]) => name));
    } catch (error) {
      put(this.note, error.message);
      this.isStarting = false;
      return;
    }
    this.groups = groups.map(([name]) => name);
    const bounds = [Math.min(...groups.map(([, group]) => milliseconds(group.first))), Math.max(...groups.map(([, group]) => milliseconds(group.last)))];
    if (bounds[0] === bounds[1]) bounds[0] -= HOUR;
    const measured = this.signals.filter(({ key }) => this.available.has(key));
    const view = this.remembered(bounds) || [Math.max(bounds[0], bounds[1] - 7 * DAY), bounds[1]];
    this.curves = new Curves(slot(this.root, "chart"), {
      device: this.device, signals: measured, bounds, view,
      onView: (range) => this.looked(range),
      onTrouble: (text) => put(slot(this.root, "trouble"), text),
      onEvent: (event) => this.anomalies.pick(event),
    });
    this.anomalies = new Anomalies(slot(this.root, "anomalies"), {
      device: this.device, groups: this.groups, signals: measured,
      onEvents: (events) => this.curves.mark(events),
      onPick: (event) => this.zoomTo(event),
    });
    this.drawToolbar(measured);
    this.showPanels("");
    if (this.available.has("bms.soc")) this.curves.fetchOverview("bms.soc");
    this.looked(view);
    const later = (name, draw) => whenSeen(slot(this.root, name).parentElement, () => draw(slot(this.root, name)));
    later("forecast", (root) => new Forecast(root, { device: this.device, signals: measured, bounds }));
    later("report", (root) => drawReport(root, this.device, this.groups));
    drawFigures(slot(this.root, "figures"), this.device, this.groups);
    if (found.is_live) this.goLive(true);
  }

  async metrics(groups) {
    const answers = await Promise.all(groups.map((group) => ask(`/${group}/devices`)));
    return new Set(answers.flatMap(({ devices }, i) => {
      const own = devices.find(({ device_id: id }) => id === this.device);
      return own ? own.available_metrics.map((field) => `${groups[i]}.${field}`) : [];
    }));
  }

  showPanels(extra) {
    const panels = this.panels.map((panel) => ({ ...panel, signals: panel.signals.filter((key) => this.available.has(key)) })).filter(({ signals }) => signals.length);
    if (extra) panels.push({ title: this.signals.find(({ key }) => key === extra).title, signals: [extra] });
    this.curves.show(panels);
  }

  drawToolbar(measured) {
    const curves = this.curves;
    this.presets = PRESETS.map(([title, span]) => h("button", { type: "button", "aria-pressed": "false", onclick: () => this.preset(span) }, title));
    const jump = (title, symbol, pan, zoom) => h("button", { type: "button", "aria-label": title, title, onclick: () => curves.step(pan, zoom) }, symbol);
    const input = (title, side) => {
      const field = h("input", { type: "datetime-local", step: 1, onchange: () => this.typed() });
      this[side] = field;
      return h("label", { class: "bt-field" }, h("span", {}, title), field);
    };
    const shown = new Set(this.panels.flatMap(({ signals }) => signals));
    const others = measured.filter(({ key }) => !shown.has(key)).map(({ key, title, unit }) => [key, `${title} / ${unit}`]);
    this.liveBox = h("input", { type: "checkbox", role: "switch", onchange: (event) => this.goLive(event.target.checked) });
    slot(this.root, "toolbar").append(h("div", { class: "bt-bar" },
      h("div", { class: "bt-buttons", role: "group", "aria-label": "Range" }, ...this.presets),
      h("div", { class: "bt-buttons", role: "group", "aria-label": "Move" },
        jump("Earlier", "◀", -0.5), jump("Later", "▶", 0.5), jump("Zoom out", "−", 0, 2), jump("Zoom in", "+", 0, 0.5)),
      input("From (UTC)", "from"), input("To (UTC)", "to"),
      h("button", { type: "button", onclick: () => this.reset() }, "Reset"),
      others.length ? select("Also show", [["", "nothing more"], ...others], "", (key) => this.showPanels(key)) : null,
      h("label", { class: "bt-switch bt-push" }, this.liveBox, "Live")));
    this.exports = h("span", { class: "bt-bar" });
    slot(this.root, "chart-foot").append(h("div", { class: "bt-bar" }, this.exports, this.replayBar(),
      h("span", { class: "bt-faint bw-wide" }, "Drag to pan, Ctrl and wheel to zoom; keys: arrows, + and −.")));
  }

  // ------------------------------------------------------------------------- the shown range
  looked([start, end]) {
    const field = (at) => iso(Math.round(at / 1000) * 1000).slice(0, 19);
    for (const [input, at] of [[this.from, start], [this.to, end]]) {
      if (document.activeElement !== input) input.value = field(at);
    }
    const [first, last] = this.curves.bounds, span = end - start;
    this.presets.forEach((button, i) => {
      const is = PRESETS[i][1] === Infinity ? span >= 0.999 * (last - first) : Math.abs(span - PRESETS[i][1]) < MINUTE;
      button.setAttribute("aria-pressed", String(is));
    });
    const range = { start: iso(Math.floor(start)), end: iso(Math.ceil(end) + 1) };
    this.exports.replaceChildren(h("span", { class: "bt-faint" }, "Shown range as"), ...this.groups.flatMap((group) => ["csv", "parquet"].map((format) =>
      h("a", { href: address(devicePath(group, this.device, "export"), { format, ...range }), download: "" }, `${group.toUpperCase()} ${format === "csv" ? "CSV" : "Parquet"}`))));
    history.replaceState(history.state, "", `#${range.start}/${range.end}`);
    this.anomalies.look([start, end]);
  }

  remembered([first, last]) {
    const [start, end] = location.hash.slice(1).split("/").map(milliseconds);
    return start < end && end > first && start < last ? [Math.max(start, first), Math.min(end, last)] : null;
  }

  preset(span) {
    const [first, last] = this.curves.bounds;
    const end = Math.min(last, this.curves.view[1]);
    if (span === Infinity) this.curves.look(first, last);
    else this.curves.look(end - span, end);
  }

  reset() {
    const [first, last] = this.curves.bounds;
    this.curves.look(Math.max(first, last - 7 * DAY), last);
  }

  typed() {
    const [start, end] = [this.from, this.to].map(({ value }) => milliseconds(`${value}Z`));
    if (start < end) this.curves.look(start, end);
    put(slot(this.root, "trouble"), start < end ? "" : "The range has to begin before it ends.");
  }

  zoomTo({ from, to }) {
    const around = Math.max(2 * (to - from), HOUR);
    this.curves.look(from - around, to + around);
    slot(this.root, "chart").scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  // ------------------------------------------------------------------------- live and replay
  goLive(isOn) {
    this.liveBox.checked = isOn;
    this.isLive = isOn;
    this.endStreams();
    this.root.dataset.live = "off";
    if (!isOn) return;
    this.stopReplay();
    const [start, end] = this.curves.view, last = this.curves.bounds[1];
    if (end < last) this.curves.look(last - (end - start), last);
    this.listen();
  }

  listen() {
    const source = new EventSource(devicePath("bess", this.device, "live"));
    source.onopen = () => {
      this.root.dataset.live = "connected";
      put(slot(this.root, "trouble"), "");
    };
    source.onerror = () => {
      this.root.dataset.live = "away";
      put(slot(this.root, "trouble"), AWAY);
    };
    source.addEventListener("row", (event) => {
      const { group, row } = JSON.parse(event.data);
      this.came(group, row);
    });
    this.streams.push(source);
    // A page in the background holds no connection: browsers allow few to a host.
    this.onHidden ||= document.addEventListener("visibilitychange", () => {
      if (!this.isLive) return;
      this.endStreams();
      if (!document.hidden) this.listen();
    }) || true;
  }

  endStreams() {
    for (const source of this.streams) source.close();
    this.streams = [];
  }

  came(group, row) {
    const at = milliseconds(row.timestamp);
    if (at > this.curves.bounds[1]) {
      const known = Object.fromEntries(Object.entries(row).filter(([, value]) => typeof value === "number"));
      this.curves.append(group, at, known, true);
      this.root.dataset.arrived = String(Number(this.root.dataset.arrived || 0) + 1);
      this.judgeSoon();
    }
    if (at < this.latestAt) return;
    this.latestAt = at;
    if (this.ahead === undefined || Date.now() + this.ahead < at) this.ahead = at - Date.now();
    for (const key of this.tiles.keys()) {
      const [of, field] = key.split(".");
      if (of === group && field in row) this.tile(key, row[field]);
    }
    this.drawAge();
  }

  // New readings are judged now and then, not each by itself.
  judgeSoon() {
    if (this.judging) return;
    this.judging = setTimeout(() => {
      this.judging = null;
      if (this.root.isConnected) this.anomalies.again();
    }, JUDGE_LIVE_MS);
  }

  replayBar() {
    this.pace = "0.5";
    this.replayButton = h("button", { type: "button", onclick: () => (this.isReplaying ? this.stopReplay() : this.startReplay()) }, "Replay the day");
    return h("span", { class: "bt-bar" },
      select("A row every", ["0.1", "0.2", "0.5", "1", "2"].map((seconds) => [seconds, `${seconds} s`]), this.pace, (value) => {
        this.pace = value;
        if (this.isReplaying) this.startReplay();
      }), this.replayButton);
  }

  startReplay() {
    this.goLive(false);
    this.isReplaying = true;
    put(this.replayButton, "Stop");
    const date = iso(this.curves.view[0]).slice(0, 10);
    const source = new EventSource(address(devicePath("bess", this.device, "stream"), { interval: this.pace, date }));
    source.onmessage = ({ data }) => this.replayed(JSON.parse(data));
    source.onerror = () => put(slot(this.root, "trouble"), source.readyState === EventSource.CLOSED ? "This day cannot be replayed." : AWAY);
    this.streams.push(source);
  }

  replayed(row) {
    const at = milliseconds(row.timestamp), [start, end] = this.curves.view;
    put(slot(this.root, "trouble"), "");
    put(this.age, `replay: ${clock(at)} UTC`);
    if (at < start || at > end) this.curves.look(at - (end - start) / 20, at + (19 * (end - start)) / 20);
    this.curves.point(at);
    for (const key of this.tiles.keys()) this.tile(key, row[MERGED[key]]);
  }

  stopReplay() {
    if (!this.isReplaying) return;
    this.isReplaying = false;
    this.endStreams();
    this.curves.point(null);
    put(this.replayButton, "Replay the day");
    this.latestAt = undefined;
    this.refresh();
  }
}

export const open = (root, options) => {
  document.title = `${options.device} · benchwire`;
  return new Page(root, options);
};
