// A forecast with its band, beside what was measured before and, where it is known, afterwards.
import { echarts } from "nicegui-echart";
import { DASH, HOUR, Newest, ask, clock, devicePath, escape, h, ink, isKnown, iso, milliseconds, number, onTheme, put, quantity, select, whole } from "./basics.js";
import { axisText, rules, tooltipLook } from "./curves.js";

const METHODS = [["auto", "best of all"], ["seasonal_naive", "seasonal naive"], ["ets", "Holt-Winters"], ["gbdt", "boosted trees"]];
const HORIZONS = [["6", "6 h"], ["12", "12 h"], ["24", "1 day"], ["48", "2 days"], ["72", "3 days"], ["168", "7 days"]];
const MEASURED = "#5b6ee1", PREDICTED = "#d55e00";

// Steps that keep the answer under some three hundred points.
const stepOf = (horizon) => (horizon <= 72 ? 15 : 30);

export class Forecast {
  constructor(root, { device, signals, bounds }) {
    Object.assign(this, { root, device, bounds });
    this.signals = new Map(signals.map((signal) => [signal.key, signal]));
    this.asked = { metric: signals[0].key, method: "auto", horizon: "24", as_of: "" };
    this.trouble = h("div", { class: "bt-trouble" });
    this.chartAt = h("div", { class: "bt-small-chart", role: "img", "aria-label": "Forecast" });
    this.facts = h("dl", { class: "bt-facts" });
    const set = (name) => (value) => {
      this.asked[name] = value;
      this.newest.ask();
    };
    root.append(
      h("div", { class: "bt-bar" },
        select("Signal", signals.map(({ key, title, unit }) => [key, `${title} / ${unit}`]), this.asked.metric, set("metric")),
        select("Method", METHODS, "auto", set("method")),
        select("Ahead", HORIZONS, "24", set("horizon")),
        h("label", { class: "bt-field" }, h("span", {}, "As of (UTC; empty: now)"), h("input", {
          type: "datetime-local", onchange: (event) => set("as_of")(event.target.value && `${event.target.value.slice(0, 16)}:00Z`),
        }))),
      this.trouble, this.chartAt, this.facts);
    this.chart = echarts.init(this.chartAt);
    this.resizing = new ResizeObserver(() => {
      if (root.isConnected) return this.chart.resize();
      this.resizing.disconnect();
      this.chart.dispose();
    });
    this.resizing.observe(this.chartAt);
    onTheme(root, () => this.draw());
    this.newest = new Newest(() => this.load());
    this.newest.ask();
  }

  async load() {
    const { metric, method, horizon, as_of } = this.asked;
    const { group, field } = this.signals.get(metric);
    this.root.dataset.busy = "true";
    try {
      const answer = await ask(devicePath(group, this.device, "forecast"), { metric: field, method, horizon, as_of, step: stepOf(Number(horizon)) });
      const first = milliseconds(answer.forecast[0].timestamp), ahead = Number(horizon) * HOUR;
      const measured = await ask(devicePath(group, this.device, "series"), {
        metric: field, points: 1200, form: "columns", start: iso(first - Math.max(2 * ahead, 24 * HOUR)), end: iso(first + ahead),
      });
      put(this.trouble, "");
      this.answer = { ...answer, first, measured, signal: this.signals.get(metric) };
      this.draw();
    } catch (error) {
      put(this.trouble, error.message);
      this.answer = null;
      this.chart.clear();
      this.facts.replaceChildren();
    }
    this.root.dataset.busy = "false";
    this.root.dataset.points = String(this.answer ? this.answer.forecast.length : 0);
  }

  draw() {
    if (!this.answer) return;
    const { forecast, measured, signal, first } = this.answer;
    const at = forecast.map(({ timestamp }) => milliseconds(timestamp));
    const series = { type: "line", showSymbol: false, animation: false };
    const pairs = (of) => forecast.map((point, i) => [at[i], of(point)]);
    this.chart.setOption({
      animation: false, useUTC: true,
      grid: { left: 58, right: 14, top: 30, bottom: 26 },
      legend: { top: 0, left: 50, textStyle: { color: ink() }, data: ["Measured", "Forecast", "Band"], itemHeight: 8 },
      tooltip: { trigger: "axis", ...tooltipLook(), formatter: (items) => this.told(items) },
      xAxis: { type: "time", axisLabel: { ...axisText(), hideOverlap: true }, splitLine: rules() },
      yAxis: { type: "value", scale: true, name: signal.unit, nameTextStyle: axisText(), axisLabel: axisText(), splitLine: rules() },
      series: [
        { ...series, id: "lower", data: pairs(({ lower }) => lower), stack: "band", stackStrategy: "all", lineStyle: { opacity: 0 }, silent: true, tooltip: { show: false } },
        { ...series, id: "band", name: "Band", data: pairs(({ lower, upper }) => upper - lower), stack: "band", stackStrategy: "all", color: PREDICTED, lineStyle: { opacity: 0 }, areaStyle: { opacity: 0.22 }, silent: true },
        { ...series, id: "measured", name: "Measured", color: MEASURED, lineStyle: { width: 1.3 }, data: measured.at_ms.map((time, i) => [time, measured.value[i]]) },
        { ...series, id: "forecast", name: "Forecast", color: PREDICTED, lineStyle: { width: 2 }, data: pairs(({ value }) => value),
          markLine: { silent: true, symbol: "none", label: { show: false }, data: [{ xAxis: first }], lineStyle: { color: ink(), type: "dashed", opacity: 0.5 } } },
      ],
    }, true);
    this.chartAt.setAttribute("aria-label", `Forecast of ${signal.title} from ${clock(first)} UTC`);
    this.drawFacts();
  }

  drawFacts() {
    const { backtest = {}, method, signal } = this.answer;
    const { mae, rmse, baseline_mae: baseline, coverage, origins } = backtest || {};
    const better = isKnown(mae) && isKnown(baseline) && baseline > 0 ? 1 - mae / baseline : null;
    const facts = [
      ["Method", (METHODS.find(([name]) => name === method) || [method, method])[1]],
      ["Mean error in backtest", quantity(mae, signal.unit)],
      ["Root mean square error", quantity(rmse, signal.unit)],
      ["Seasonal naive's mean error", quantity(baseline, signal.unit)],
      ["Better than seasonal naive by", better === null ? DASH : `${number(100 * better, "%")} %`],
      ["Measured inside the band", isKnown(coverage) ? `${number(100 * coverage, "%")} %` : DASH],
      ["Origins", whole(origins)],
      ["Trained on", trained(this.answer.trained_on)],
    ];
    this.facts.replaceChildren(...facts.map(([title, text]) => h("div", {}, h("dt", {}, title), h("dd", {}, text))));
  }

  told(items) {
    const time = items[0].value[0];
    const { forecast, signal } = this.answer;
    const rows = [];
    const measured = items.find(({ seriesId }) => seriesId === "measured");
    if (measured) rows.push(`Measured: ${quantity(measured.value[1], signal.unit)}`);
    const point = forecast.find(({ timestamp }) => milliseconds(timestamp) === time);
    if (point) rows.push(`Forecast: ${quantity(point.value, signal.unit)} (${number(point.lower, signal.unit)} to ${number(point.upper, signal.unit)})`);
    return [`<b>${clock(time)} UTC</b>`, ...rows.map(escape)].join("<br>");
  }
}

const trained = (given) => {
  if (!given) return DASH;
  if (typeof given === "string") return given;
  if (given.start && given.end) return `${clock(milliseconds(given.start)).slice(0, 16)} to ${clock(milliseconds(given.end)).slice(0, 16)}`;
  return Object.entries(given).map(([name, value]) => `${name} ${value}`).join(", ");
};
