// The anomalies of the shown range: asked for when the range has come to rest, one question at a
// time, since judging months of samples takes the server a while.
import { DASH, Newest, SEVERITY, ask, clock, devicePath, h, iso, lasting, milliseconds, number, put, quantity, select, settled, whole } from "./basics.js";

const SETTLE_MS = 400;
const MOST = 1000;
const PAGE = 10;
const METHODS = [
  ["auto", "all methods"], ["limits", "limits"], ["spike", "spikes"], ["stuck", "stuck values"], ["step", "steps"], ["drift", "drifts"],
  ["imbalance", "imbalance"], ["gap", "gaps"], ["iforest", "isolation forest"],
];
const RANK = { info: 0, warning: 1, critical: 2 };
const KINDS = { out_of_range: "out of range" };

export class Anomalies {
  constructor(root, { device, groups, signals, onEvents, onPick }) {
    Object.assign(this, { device, groups, signals, onEvents, onPick });
    this.titles = new Map(signals.map((signal) => [signal.key, signal]));
    this.method = "auto";
    this.metric = "";
    this.severity = "info";
    this.events = [];
    this.page = 0;
    this.note = h("div", { class: "bt-faint", role: "status" });
    this.trouble = h("div", { class: "bt-trouble" });
    this.body = h("tbody");
    this.pager = h("div", { class: "bt-bar" });
    this.table = h("div", { class: "bt-scroll", hidden: true }, h("table", { class: "bt-table" },
      h("thead", {}, h("tr", {}, ...["Severity", "Began (UTC)", "Lasted", "Signal", "Kind", "Value", "Expected", "What"].map((text) =>
        h("th", { class: ["Value", "Expected"].includes(text) ? "bt-number" : "" }, text)))), this.body));
    const metrics = [["", "all signals"], ...signals.map(({ key, title }) => [key, title])];
    this.root = root;
    root.append(
      h("div", { class: "bt-bar" },
        select("Found by", METHODS, this.method, (value) => this.set({ method: value })),
        select("Signal", metrics, this.metric, (value) => this.set({ metric: value })),
        select("Severity", [["info", "all"], ["warning", "warning and critical"], ["critical", "critical only"]], this.severity, (value) => {
          this.severity = value;
          this.show();
        })),
      this.note, this.trouble, this.table, this.pager);
    this.newest = new Newest((view) => this.load(view));
    this.look = settled((view) => {
      this.view = view;
      this.newest.ask(view);
    }, SETTLE_MS);
  }

  set(changes) {
    Object.assign(this, changes);
    if (this.view) this.newest.ask(this.view);
  }

  again() {
    if (this.view) this.newest.ask(this.view);
  }

  async load([start, end]) {
    this.root.dataset.busy = "true";
    const { method, metric } = this;
    const groups = metric ? [metric.split(".")[0]] : this.groups;
    const query = { method, metric: metric.split(".")[1], start: iso(start), end: iso(end + 1), limit: MOST };
    const found = await Promise.all(groups.map(async (group) => {
      try {
        return { group, ...(await ask(devicePath(group, this.device, "anomalies"), query)) };
      } catch (error) {
        return { group, trouble: error.message };
      }
    }));
    this.root.dataset.busy = "false";
    put(this.trouble, [...new Set(found.map(({ trouble }) => trouble).filter(Boolean))].join(" "));
    const told = found.filter(({ trouble }) => !trouble);
    if (!told.length) return;
    this.total = told.reduce((sum, { total_anomalies }) => sum + total_anomalies, 0);
    this.samples = told.reduce((sum, { samples_analyzed }) => sum + samples_analyzed, 0);
    this.events = told.flatMap(({ group, anomalies }) => anomalies.map((anomaly) => ({
      ...anomaly, key: `${group}.${anomaly.metric}`, from: milliseconds(anomaly.start), to: milliseconds(anomaly.end),
    }))).sort((a, b) => b.from - a.from);
    this.page = 0;
    this.show();
  }

  show() {
    this.shown = this.events.filter(({ severity }) => RANK[severity] >= RANK[this.severity]);
    this.onEvents(this.shown);
    const critical = this.events.filter(({ severity }) => severity === "critical").length;
    const cut = this.total > this.events.length ? `, of which ${this.events.length} are listed` : "";
    put(this.note, `${whole(this.total)} in the shown range${cut}${critical ? `, ${critical} critical` : ""}; ${whole(this.samples)} samples were judged.`);
    this.root.dataset.events = String(this.shown.length);
    this.draw();
  }

  draw() {
    const pages = Math.max(1, Math.ceil(this.shown.length / PAGE));
    this.page = Math.min(this.page, pages - 1);
    const from = this.page * PAGE;
    this.table.hidden = !this.shown.length;
    this.body.replaceChildren(...this.shown.slice(from, from + PAGE).map((event) => this.row(event)));
    const turn = (step) => () => {
      this.page += step;
      this.draw();
    };
    this.pager.replaceChildren(...(pages > 1 ? [
      h("button", { onclick: turn(-1), disabled: this.page === 0 }, "Newer"),
      h("span", { class: "bt-faint" }, `${from + 1} to ${Math.min(from + PAGE, this.shown.length)} of ${this.shown.length}`),
      h("button", { onclick: turn(1), disabled: this.page === pages - 1 }, "Older"),
    ] : []));
  }

  row(event) {
    const { title, unit } = this.titles.get(event.key) || { title: event.metric, unit: "" };
    const pick = () => {
      this.pick(event);
      this.onPick(event);
    };
    const row = h("tr", { tabindex: 0, "data-severity": event.severity, "data-metric": event.metric, "data-type": event.type, "aria-current": event === this.picked, title: "Show in the chart",
      onclick: pick, onkeydown: ({ key }) => key === "Enter" && pick() },
      h("td", {}, h("span", { class: "bt-severity", style: `--shade:${SEVERITY[event.severity] || "#888"}` }, event.severity)),
      h("td", {}, clock(event.from)), h("td", {}, lasting(event.to - event.from)), h("td", {}, title),
      h("td", {}, KINDS[event.type] || event.type), h("td", { class: "bt-number" }, quantity(event.value, unit)),
      h("td", { class: "bt-number" }, typeof event.expected === "string" ? event.expected : event.expected === null ? DASH : `${number(event.expected, unit)}\u00a0${unit}`),
      h("td", { class: "bt-text" }, event.message));
    event.row = row;
    return row;
  }

  // Marks one in the list, on the page of the list where it is.
  pick(event) {
    if (this.picked && this.picked.row) this.picked.row.removeAttribute("aria-current");
    this.picked = event;
    const index = this.shown.indexOf(event);
    if (index >= 0 && Math.floor(index / PAGE) !== this.page) {
      this.page = Math.floor(index / PAGE);
      this.draw();
    }
    if (event.row) event.row.setAttribute("aria-current", "true");
  }
}
