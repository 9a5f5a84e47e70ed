// Read before the page is painted: the theme; then keys, the state of the connection, and live
// curves, whose events come straight from the server's stream into the chart, past the page's own
// socket, so that an open dashboard costs the server next to nothing.
window.benchwire = (() => {
  const THEME = "benchwire-theme";
  const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

  let chosenTheme = null;
  try {
    chosenTheme = localStorage.getItem(THEME);
  } catch {
    // The browser keeps nothing for this site; what is chosen holds for this page.
  }
  const isDark = () => (chosenTheme ? chosenTheme === "dark" : systemIsDark.matches);

  // The page library sets its own theme when it starts; it is corrected before the next paint.
  const applyTheme = () => {
    const dark = isDark();
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    if (window.Quasar && document.body.matches(dark ? ".body--light" : ".body--dark")) Quasar.Dark.set(dark);
  };
  applyTheme();
  systemIsDark.addEventListener("change", applyTheme);
  document.addEventListener("readystatechange", () => {
    if (document.readyState !== "interactive") return;
    new MutationObserver(applyTheme).observe(document.body, { attributeFilter: ["class"] });
  });

  const isTyping = (element) => element.closest("input, textarea, select, [contenteditable], .q-field");

  // "/" goes to the search field, the last one on the page; arrows walk through the results.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && !isTyping(event.target)) {
      const field = [...document.querySelectorAll("[data-bw-search]")].findLast((one) => one.checkVisibility());
      if (field) {
        event.preventDefault();
        field.focus();
        field.select();
      } else {
        document.querySelector("[data-bw-search-page]")?.click();
      }
    }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const results = [...document.querySelectorAll("[data-bw-results] a[href]")];
    const at = results.indexOf(document.activeElement);
    const isField = document.activeElement.matches("main [data-bw-search]");
    if (!results.length || (at < 0 && !isField)) return;
    event.preventDefault();
    const next = at + (event.key === "ArrowDown" ? 1 : -1);
    if (next < 0) document.querySelector("main [data-bw-search]")?.focus();
    else results[Math.min(next, results.length - 1)].focus();
  });

  const showConnection = (connected) => {
    for (const element of document.querySelectorAll("[data-bw-connection]")) {
      element.dataset.state = connected ? "connected" : "offline";
      element.textContent = connected ? "connected" : "server not reached";
    }
  };
  // The page's own socket tells; a stream of its own would take one of the six connections that a
  // browser opens to a server over all its tabs.
  const watchConnection = () => {
    if (!window.socket) {
      setTimeout(watchConnection, 50);
      return;
    }
    window.socket.on("connect", () => showConnection(true));
    window.socket.on("disconnect", () => showConnection(false));
    if (window.socket.connected) showConnection(true);
  };
  document.addEventListener("DOMContentLoaded", watchConnection);

  const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
  const MAX_POINTS = 4000;
  const PREFIXES = [[1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]];
  const following = new Map();

  const axesOf = (columns) => {
    if ("Z real (Ohm)" in columns) {
      return { x: "Z real (Ohm)", y: "Z imag (Ohm)", sign: -1, xName: "Z' / Ω", yName: "-Z'' / Ω" };
    }
    if ("Cycle" in columns && "Applied potential (V)" in columns) {
      return { x: "Potential (V)", y: "Current (A)", sign: 1, xName: "Potential / V", unit: "A", yName: "Current" };
    }
    if (!("Applied potential (V)" in columns)) {
      return { x: "Time (s)", y: "Potential (V)", sign: 1, xName: "Time / s", yName: "Potential / V" };
    }
    return { x: "Time (s)", y: "Current (A)", sign: 1, xName: "Time / s", unit: "A", yName: "Current" };
  };

  const scaleOf = (largest) => PREFIXES.find(([factor]) => largest >= factor) || (largest ? [1e-9, "n"] : [1, ""]);

  const ink = () => getComputedStyle(document.documentElement).getPropertyValue("--bw-text").trim();

  const charts = new WeakMap();

  // Return the chart in an element made for one; undefined until the library is loaded.
  const chartIn = (element) => {
    if (!charts.has(element)) {
      charts.set(element, undefined);
      import("nicegui-echart").then(({ echarts }) => {
        if (!element.isConnected) return;
        const chart = echarts.init(element, null, { renderer: "canvas" });
        new ResizeObserver(() => chart.resize()).observe(element);
        charts.set(element, chart);
      });
    }
    return charts.get(element);
  };

  class Follower {
    constructor(element, url) {
      this.element = element;
      this.curves = new Map();
      this.axes = null;
      this.drawn = false;
      this.source = new EventSource(url);
      this.source.addEventListener("curves", (event) => {
        this.curves.clear();
        for (const curve of JSON.parse(event.data)) this.append(curve);
      });
      this.source.addEventListener("points", (event) => this.append(JSON.parse(event.data)));
      this.timer = setInterval(() => this.draw(), 100);
    }

    append({ slot, mode, turn, columns }) {
      if (!Object.keys(columns).length) return;
      const axes = axesOf(columns);
      let curve = this.curves.get(slot);
      // A batch may be late; what has begun since is not taken back.
      if (curve && turn < curve.turn) return;
      if (!curve || curve.turn !== turn) {
        curve = { mode, turn, points: [], last: -Infinity };
        this.curves.set(slot, curve);
        this.mode = mode;
      }
      this.axes = axes;
      const xs = columns[axes.x], ys = columns[axes.y];
      // What was measured while the curves so far were sent is in them and comes once more.
      const times = columns["Time (s)"];
      for (let i = 0; i < xs.length; i++) {
        if (times && times[i] <= curve.last) continue;
        curve.points.push([xs[i], axes.sign * ys[i]]);
      }
      if (times) curve.last = Math.max(curve.last, times.at(-1));
      if (curve.points.length > MAX_POINTS) curve.points = curve.points.filter((_, i) => i % 2 === 0);
      this.element.dataset.points = String(
        [...this.curves.values()].reduce((sum, item) => sum + item.points.length, 0));
      this.changed = true;
    }

    draw() {
      if (!this.changed || !this.axes || !this.element.isConnected) return;
      const chart = chartIn(this.element);
      if (!chart) return;
      this.changed = false;
      const shown = [...this.curves].filter(([, curve]) => curve.mode === this.mode).sort();
      let largest = 0;
      for (const [, curve] of shown) for (const point of curve.points) largest = Math.max(largest, Math.abs(point[1]));
      const [factor, prefix] = this.axes.unit ? scaleOf(largest) : [1, ""];
      const label = this.axes.unit ? `${this.axes.yName} / ${prefix}${this.axes.unit}` : this.axes.yName;
      const axis = { type: "value", scale: true, nameLocation: "middle", axisLabel: { color: ink(), hideOverlap: true }, nameTextStyle: { color: ink() }, splitLine: { lineStyle: { opacity: 0.25 } } };
      chart.setOption({
        animation: false,
        title: { text: this.mode, left: "center", top: 4, textStyle: { color: ink(), fontSize: 14 } },
        legend: { bottom: 0, textStyle: { color: ink() }, type: "scroll" },
        grid: { left: 70, right: 24, top: 36, bottom: 70 },
        tooltip: { trigger: "item" },
        xAxis: { ...axis, name: this.axes.xName, nameGap: 28 },
        yAxis: { ...axis, name: label, nameGap: 48 },
        series: shown.map(([slot, curve], i) => ({
          name: slot, type: "line", showSymbol: this.axes.sign < 0, symbolSize: 5, lineStyle: { width: 1.6 },
          color: PALETTE[i % PALETTE.length],
          data: factor === 1 ? curve.points : curve.points.map(([x, y]) => [x, y / factor]),
        })),
      }, { replaceMerge: ["series"] });
    }

    close() {
      this.source.close();
      clearInterval(this.timer);
    }
  }

  return {
    chartIn,
    // Draw a run's live curves into the chart element with this DOM id, in place of any before.
    follow(id, url) {
      const before = following.get(id);
      if (before) before.close();
      const element = document.getElementById(id);
      if (!element) return;
      chartIn(element);
      following.set(id, new Follower(element, url));
    },
    // Dark or light: as chosen before in this browser, else as the system says.
    switchTheme() {
      chosenTheme = isDark() ? "light" : "dark";
      try {
        localStorage.setItem(THEME, chosenTheme);
      } catch {
        // As above.
      }
      applyTheme();
      for (const follower of following.values()) follower.changed = true;
    },
  };
})();
