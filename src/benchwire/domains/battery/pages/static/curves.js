// Curves of many signals over one time axis. What is fetched is the shown range and half of it on
// either side, as smallest and largest value of each step, so that spikes stay and a drag finds its
// curve already there. The old curve stays until the answer for the new range has come; an answer
// that was overtaken is dropped.
import { echarts } from "nicegui-echart";
import { HOUR, MINUTE, PALETTE, SEVERITY, ask, clock, devicePath, escape, ink, isDark, isKnown, iso, onTheme, quantity, settled } from "./basics.js";

const LEFT = 58, RIGHT = 14, TITLE = 20, BETWEEN = 12, AXIS = 24, SLIDER = 34;
const MOST_POINTS = 4000;
const SHORTEST = 10e3;
const SETTLE_MS = 120;
const DRAW_MS = 100;
const RETRY_MS = 5000;
// As long as the server joins samples of different signals; without any for longer, the line breaks.
const GAP = 10 * MINUTE;

const firstAtOrAfter = (at, time) => {
  let low = 0, high = at.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at[middle] < time) low = middle + 1;
    else high = middle;
  }
  return low;
};

// The sample nearest to a time, if one is near enough for the scale the curve was fetched in.
const nearest = ({ at, value }, time, reach) => {
  const after = firstAtOrAfter(at, time);
  const index = after > 0 && (after === at.length || time - at[after - 1] <= at[after] - time) ? after - 1 : after;
  return index < at.length && Math.abs(at[index] - time) <= reach ? value[index] : null;
};

const roundStep = (rough) => {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999);
};

// A value axis that ends on round numbers.
export const extent = (low, high, holds) => {
  if (holds) [low, high] = [Math.min(low, holds[0]), Math.max(high, holds[1])];
  if (!(low <= high)) return { min: 0, max: 1, interval: 1 };
  if (high - low < 1e-9 * Math.max(1, Math.abs(high))) {
    const pad = Math.abs(high) * 0.02 || 1;
    [low, high] = [low - pad, high + pad];
  }
  const interval = roundStep((high - low) / 3);
  return { min: Math.floor(low / interval + 1e-6) * interval, max: Math.ceil(high / interval - 1e-6) * interval, interval };
};

export const axisText = () => ({ color: ink(), fontSize: 11 });
export const rules = () => ({ show: true, lineStyle: { color: ink(), opacity: 0.14 } });
export const tooltipLook = () => ({
  backgroundColor: isDark() ? "#10151aee" : "#ffffffee", borderColor: isDark() ? "#3a4550" : "#c9d2da",
  textStyle: { color: ink(), fontSize: 12 }, confine: true,
});

export class Curves {
  constructor(element, { device, signals, bounds, view, onView, onTrouble, onEvent }) {
    this.element = element;
    this.device = device;
    this.signals = new Map(signals.map((signal) => [signal.key, signal]));
    this.bounds = bounds;
    this.view = view;
    this.onView = onView;
    this.onTrouble = onTrouble;
    this.data = new Map();
    this.overview = [];
    this.events = [];
    this.cursor = null;
    this.panels = [];
    this.chart = echarts.init(element, null, { renderer: "canvas" });
    this.chart.on("datazoom", (event) => this.zoomed(event));
    this.chart.on("click", ({ data }) => data && data.event && onEvent(data.event));
    this.resizing = new ResizeObserver(() => {
      if (!element.isConnected) return this.close();
      this.chart.resize();
      this.load();
    });
    this.resizing.observe(element);
    onTheme(element, () => this.draw());
    this.load = settled(() => this.fetchAll(), SETTLE_MS);
    this.retry = settled(() => this.element.isConnected && this.fetchAll(), RETRY_MS);
    this.tell = settled(() => this.onView(this.view), SETTLE_MS);
    element.tabIndex = 0;
    element.addEventListener("keydown", (event) => this.key(event));
  }

  close() {
    this.resizing.disconnect();
    if (this.fetching) this.fetching.abort();
    this.chart.dispose();
  }

  // Shows these panels, from top to bottom.
  show(panels) {
    this.panels = panels.map((panel, row) => ({
      ...panel,
      unit: this.signals.get(panel.signals[0]).unit,
      lines: panel.signals.map((key, i) => ({ ...this.signals.get(key), color: PALETTE[(panel.signals.length > 1 ? i : row + 2) % PALETTE.length] })),
    }));
    for (const key of [...this.data.keys()]) {
      if (!this.keys().includes(key)) this.data.delete(key);
    }
    this.draw(true);
    this.load();
  }

  keys() {
    return this.panels.flatMap((panel) => panel.signals);
  }

  // Shows another time range, kept within what there is.
  look(start, end) {
    const span = Math.min(Math.max(end - start, SHORTEST), Math.max(this.bounds[1] - this.bounds[0], SHORTEST));
    const from = Math.max(this.bounds[0], Math.min(start, this.bounds[1] - span));
    this.view = [from, from + span];
    this.draw();
    this.load();
    this.tell();
  }

  // Zooms about the middle, or pans, by fractions of what is shown.
  step(pan, zoom = 1) {
    const [start, end] = this.view, span = end - start;
    const middle = (start + end) / 2 + pan * span;
    this.look(middle - (span * zoom) / 2, middle + (span * zoom) / 2);
  }

  key(event) {
    const moves = { ArrowLeft: [-0.25], ArrowRight: [0.25], "+": [0, 0.5], "=": [0, 0.5], "-": [0, 2] };
    if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.step(...moves[event.key]);
  }

  zoomed(event) {
    const { start, end } = event.batch ? event.batch[0] : event;
    if (!isKnown(start) || !isKnown(end)) return;
    const [first, last] = this.bounds, whole = last - first;
    this.view = [first + (whole * start) / 100, first + (whole * end) / 100];
    this.rescale();
    this.load();
    this.tell();
  }

  // ------------------------------------------------------------------------------------ data
  wanted() {
    const [start, end] = this.view, half = (end - start) / 2;
    return [Math.max(this.bounds[0], start - half), Math.min(this.bounds[1], end + half)];
  }

  // Whether what was fetched still serves: all of the view, at no less than its resolution.
  suffices(curve) {
    if (!curve) return false;
    const [start, end] = this.view;
    if (curve.from > start || curve.to < end) return false;
    return curve.isWhole || curve.to - curve.from <= 2.2 * (end - start);
  }

  async fetchAll() {
    if (!this.element.isConnected || !this.panels.length) return;
    const lacking = this.keys().filter((key) => !this.suffices(this.data.get(key)));
    if (this.fetching) this.fetching.abort();
    if (!lacking.length) {
      this.element.dataset.state = "ready";
      return;
    }
    const mine = new AbortController();
    this.fetching = mine;
    this.element.dataset.state = "loading";
    const [start, end] = this.wanted();
    const points = Math.max(200, Math.min(MOST_POINTS, 2 * Math.round(this.element.clientWidth)));
    const troubles = await Promise.all(lacking.map((key) => this.fetchOne(key, start, end, points, mine)));
    if (mine.signal.aborted) return;
    this.element.dataset.state = "ready";
    const trouble = [...new Set(troubles.filter(Boolean))].join(" ");
    this.onTrouble(trouble);
    if (trouble) this.retry();
  }

  async fetchOne(key, start, end, points, mine) {
    const { group, field } = this.signals.get(key);
    try {
      const answer = await ask(devicePath(group, this.device, "series"), {
        metric: field, points, form: "columns", start: iso(start), end: iso(end + 1),
      }, mine.signal);
      if (mine.signal.aborted || !this.keys().includes(key)) return "";
      this.data.set(key, {
        at: answer.at_ms, value: answer.value, from: start, to: end, isWhole: answer.total_points <= points,
      });
      this.redraw();
      return "";
    } catch (error) {
      return error.name === "AbortError" ? "" : error.message;
    }
  }

  // The whole recording in small, behind the slider.
  async fetchOverview(key) {
    const { group, field } = this.signals.get(key);
    try {
      const answer = await ask(devicePath(group, this.device, "series"), { metric: field, points: 400, form: "columns" });
      this.overview = answer.at_ms.map((at, i) => [at, answer.value[i]]);
      this.redraw();
    } catch {
      // the slider works without
    }
  }

  // Adds a reading that has just come; a curve that does not reach to the end will fetch it.
  append(group, at, row, follows) {
    const before = this.bounds[1];
    for (const { key, field } of this.panels.flatMap((panel) => panel.lines).filter((line) => line.group === group)) {
      const curve = this.data.get(key);
      if (!curve || !(field in row) || curve.to < Math.min(before, at)) continue;
      const index = firstAtOrAfter(curve.at, at);
      if (curve.at[index] === at) curve.value[index] = row[field];
      else {
        const last = index - 1;
        const isBroken = last >= 0 && index === curve.at.length && at - curve.at[last] > GAP && curve.value[last] !== null;
        curve.at.splice(index, 0, ...(isBroken ? [curve.at[last] + 1, at] : [at]));
        curve.value.splice(index, 0, ...(isBroken ? [null, row[field]] : [row[field]]));
      }
      curve.to = Math.max(curve.to, at);
      if (curve.at.length > 2 * MOST_POINTS) curve.to = curve.from;
    }
    const span = this.view[1] - this.view[0];
    this.bounds = [Math.min(this.bounds[0], at), Math.max(before, at)];
    if (follows && at >= before) {
      this.view = [Math.max(this.bounds[0], at - span), at];
      this.tell();
      this.load();
    }
    this.redraw();
  }

  // ------------------------------------------------------------------------------------ marks
  mark(events) {
    this.events = events;
    this.redraw();
  }

  // Shows where a replay stands; null takes it away.
  point(at) {
    this.cursor = at;
    this.redraw();
  }

  marks(panel, axis) {
    const [start, end] = this.view;
    // At least three pixels wide, so that a spike is seen in a view of months.
    const thin = (1.5 * (end - start)) / Math.max(100, this.element.clientWidth);
    const areas = [], points = [];
    for (const event of this.events) {
      if (!panel.signals.includes(event.key)) continue;
      const middle = (event.from + event.to) / 2, half = Math.max((event.to - event.from) / 2, thin);
      const color = SEVERITY[event.severity];
      areas.push([{ xAxis: middle - half, itemStyle: { color, opacity: 0.2 } }, { xAxis: middle + half }]);
      points.push({ value: [Math.min(Math.max(middle, start), Math.max(start, end)), axis.max], itemStyle: { color }, event });
    }
    const shown = points.filter(({ event }) => event.to >= start && event.from <= end);
    return { areas, points: shown };
  }

  // ------------------------------------------------------------------------------------ drawing
  // Draws soon, however often it is asked for.
  redraw() {
    if (this.drawing) return;
    this.drawing = setTimeout(() => {
      this.drawing = null;
      if (this.element.isConnected) this.draw();
    }, Math.max(0, DRAW_MS - (performance.now() - (this.drawnAt || 0))));
  }

  rescale() {
    if (this.rescaling) return;
    this.rescaling = requestAnimationFrame(() => {
      this.rescaling = null;
      if (this.element.isConnected) this.chart.setOption(this.scales());
    });
  }

  axisOf(panel) {
    const [start, end] = this.view;
    let low = Infinity, high = -Infinity;
    for (const key of panel.signals) {
      const curve = this.data.get(key);
      if (!curve) continue;
      const stop = Math.min(curve.at.length, firstAtOrAfter(curve.at, end) + 1);
      for (let i = Math.max(0, firstAtOrAfter(curve.at, start) - 1); i < stop; i++) {
        const value = curve.value[i];
        if (value === null) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    return extent(low, high, panel.holds);
  }

  // The value axes for what is shown, and the marks, whose size depends on the zoom.
  scales() {
    const axes = this.panels.map((panel) => this.axisOf(panel));
    return {
      yAxis: [...axes.map((axis, i) => ({ id: `y${i}`, ...axis })), { id: "y-all" }],
      series: this.panels.map((panel, i) => {
        const { areas, points } = this.marks(panel, axes[i]);
        return {
          id: `events${i}`, data: points,
          markArea: { silent: true, data: areas },
          markLine: { silent: true, symbol: "none", label: { show: false }, animation: false, data: this.cursor === null ? [] : [{ xAxis: this.cursor }], lineStyle: { color: ink(), type: "solid", width: 1 } },
        };
      }),
    };
  }

  panelHeight() {
    return this.element.clientWidth < 600 ? 84 : 104;
  }

  title(panel, top) {
    const rich = Object.fromEntries(panel.lines.map(({ color }, i) => [`c${i}`, { color, fontSize: 11 }]));
    const names = panel.lines.length > 1 ? panel.lines.map(({ title }, i) => `{c${i}|● ${title}}`).join("  ") : "";
    return {
      left: LEFT - 4, top, padding: 0, text: `{b|${panel.title} / ${panel.unit}}   ${names}`,
      textStyle: { color: ink(), fontSize: 12, fontWeight: 500, width: this.element.clientWidth - LEFT, overflow: "truncate", rich: { b: { color: ink(), fontSize: 12, fontWeight: 600 }, ...rich } },
    };
  }

  draw(isNew = false) {
    this.drawnAt = performance.now();
    const height = this.panelHeight(), count = this.panels.length;
    const top = (i) => 4 + TITLE + i * (height + TITLE + BETWEEN);
    const total = top(count) - TITLE - BETWEEN + AXIS + SLIDER + 14;
    if (this.element.style.height !== `${total}px`) {
      this.element.style.height = `${total}px`;
      this.chart.resize();
    }
    const [min, max] = this.bounds;
    const scales = this.scales();
    const text = axisText(), hidden = { show: false };
    const xAxis = this.panels.map((_, i) => ({
      id: `x${i}`, gridIndex: i, type: "time", min, max, axisLine: { lineStyle: { color: ink(), opacity: 0.3 } },
      axisLabel: { show: i === count - 1, ...text, hideOverlap: true }, axisTick: { show: i === count - 1 }, splitLine: rules(),
      axisPointer: { show: true, lineStyle: { color: ink(), opacity: 0.6 }, label: { show: i === count - 1, formatter: ({ value }) => clock(value) } },
    }));
    const all = xAxis.map((_, i) => i);
    const zoom = { filterMode: "none", startValue: this.view[0], endValue: this.view[1], minValueSpan: SHORTEST };
    const option = {
      animation: false, useUTC: true,
      title: this.panels.map((panel, i) => this.title(panel, top(i) - TITLE)),
      grid: [...all.map((i) => ({ id: `g${i}`, left: LEFT, right: RIGHT, top: top(i), height })), { id: "g-all", left: LEFT, right: RIGHT, top: total - SLIDER, height: 1 }],
      xAxis: [...xAxis, { id: "x-all", gridIndex: count, type: "time", min, max, show: false, axisPointer: hidden }],
      yAxis: [
        ...scales.yAxis.slice(0, count).map((axis, i) => ({
          ...axis, gridIndex: i, type: "value", axisLabel: { ...text, hideOverlap: true, formatter: (value) => String(Number(value.toPrecision(8))).replace("-", "−") },
          splitLine: rules(), axisPointer: hidden,
        })),
        { id: "y-all", gridIndex: count, type: "value", show: false, axisPointer: hidden },
      ],
      axisPointer: { link: [{ xAxisIndex: all }] },
      tooltip: { trigger: "axis", ...tooltipLook(), formatter: (items) => this.told(items[0].axisValue), transitionDuration: 0 },
      dataZoom: [
        { id: "inside", type: "inside", xAxisIndex: all, ...zoom, zoomOnMouseWheel: "ctrl", moveOnMouseMove: true, disabled: matchMedia("(pointer: coarse)").matches },
        { id: "slider", type: "slider", xAxisIndex: [count, ...all], ...zoom, left: LEFT, right: RIGHT, top: total - SLIDER, height: SLIDER - 12, showDetail: false, brushSelect: false, borderColor: "transparent", backgroundColor: isDark() ? "#ffffff10" : "#00000008", textStyle: text },
      ],
      series: [
        ...this.panels.flatMap((panel, i) => panel.lines.map((line) => this.line(line, i))),
        ...this.panels.map((panel, i) => ({
          ...scales.series[i], type: "scatter", xAxisIndex: i, yAxisIndex: i, symbol: "path://M0,0 L10,0 L5,9 Z", symbolSize: [10, 9], symbolOffset: [0, 5], z: 6,
          tooltip: hidden, cursor: "pointer",
        })),
        { id: "all", type: "line", xAxisIndex: count, yAxisIndex: count, showSymbol: false, silent: true, lineStyle: { opacity: 0 }, data: this.overview },
      ],
    };
    this.chart.setOption(option, isNew);
    this.report();
  }

  line({ key, color }, row) {
    const curve = this.data.get(key) || { at: [], value: [] };
    const { at, value } = curve;
    const data = at.map((time, i) => [time, value[i]]);
    // A value with nothing on either side has no line to be seen by.
    const alone = (i) => value[i] !== null && (i === 0 || value[i - 1] === null) && (i === at.length - 1 || value[i + 1] === null);
    for (let i = 0; i < data.length; i++) {
      if (alone(i)) data[i] = { value: data[i], symbolSize: 5 };
    }
    const few = firstAtOrAfter(at, this.view[1]) - firstAtOrAfter(at, this.view[0]) < 60;
    return {
      id: key, type: "line", xAxisIndex: row, yAxisIndex: row, color, data, lineStyle: { width: 1.3 }, silent: true,
      showSymbol: few || data.some((item) => !Array.isArray(item)), symbol: "circle", symbolSize: few ? 4 : 0, showAllSymbol: true, connectNulls: false, emphasis: { disabled: true },
    };
  }

  // What tests and screen readers want to know.
  report() {
    let points = 0;
    for (const curve of this.data.values()) {
      points += firstAtOrAfter(curve.at, this.view[1]) - firstAtOrAfter(curve.at, this.view[0]);
    }
    const { dataset } = this.element;
    dataset.points = String(points);
    dataset.start = iso(this.view[0]);
    dataset.end = iso(this.view[1]);
    dataset.marks = String(this.events.filter((event) => this.keys().includes(event.key)).length);
    this.element.setAttribute("role", "application");
    this.element.setAttribute("aria-label", `${this.panels.map(({ title }) => title).join(", ")} from ${clock(this.view[0])} to ${clock(this.view[1])} UTC. Arrow keys pan, plus and minus zoom.`);
  }

  told(at) {
    const reach = Math.max((this.view[1] - this.view[0]) / 100, 2 * MINUTE);
    const rows = this.panels.flatMap((panel) => panel.lines).map(({ key, title, unit, color }) => {
      const curve = this.data.get(key);
      const value = curve ? nearest(curve, at, Math.min(reach, 6 * HOUR)) : null;
      return `<tr><td style="color:${color}">●</td><td>${escape(title)}</td><td style="text-align:right;padding-left:1em">${escape(quantity(value, unit))}</td></tr>`;
    });
    const events = this.events.filter((event) => at >= event.from - reach / 4 && at <= event.to + reach / 4 && this.keys().includes(event.key)).slice(0, 4)
      .map((event) => `<div style="color:${SEVERITY[event.severity]};max-width:22rem;white-space:normal">${escape(event.message)}</div>`);
    return `<b>${clock(at)} UTC</b><table>${rows.join("")}</table>${events.join("")}`;
  }
}
