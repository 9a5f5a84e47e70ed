// A meter's live values and charts: the past window is fetched once as steps with smallest, largest
// and mean value, and from then on every reading of the stream is put into its step here. So an open
// page costs the server one stream, however fast it polls.
window.powermeter = (() => {
  const QUANTITIES = [
    { key: "voltage", name: "Voltage", unit: "V", digits: 4, color: "#0072B2" },
    { key: "current", name: "Current", unit: "A", digits: 5, color: "#D55E00" },
    { key: "power", name: "Power", unit: "W", digits: 4, color: "#009E73" },
  ];
  const UNIT_MS = { s: 1e3, m: 60e3, h: 3600e3 };
  const DRAW_MS = 100;
  const streams = new Map();

  const ink = () => (document.body.classList.contains("body--dark") ? "#d7dde3" : "#37424d");
  const milliseconds = (period) => Number(period.slice(0, -1)) * UNIT_MS[period.slice(-1)];
  const put = (root, name, text) => {
    for (const element of root.querySelectorAll(`[data-bw="${name}"]`)) {
      if (element.textContent !== text) element.textContent = text;
    }
  };

  // One event source per address and page, shared by whatever listens.
  const listen = (url, kinds) => {
    let entry = streams.get(url);
    if (!entry) {
      entry = { source: new EventSource(url), users: 0 };
      streams.set(url, entry);
    }
    entry.users += 1;
    for (const [kind, handler] of Object.entries(kinds)) entry.source.addEventListener(kind, handler);
    return () => {
      for (const [kind, handler] of Object.entries(kinds)) entry.source.removeEventListener(kind, handler);
      entry.users -= 1;
      if (!entry.users) {
        entry.source.close();
        streams.delete(url);
      }
    };
  };

  class Steps {
    constructor(period, most) {
      this.period = period;
      this.most = most;
      this.clear(milliseconds(period) / most);
    }

    clear(width) {
      this.width = width;
      this.at = [];
      this.count = [];
      this.values = Object.fromEntries(QUANTITIES.map(({ key }) => [key, { min: [], max: [], avg: [] }]));
    }

    fill(answer) {
      this.clear((answer.end_ms - answer.start_ms) / this.most);
      this.at = answer.at_ms;
      this.count = answer.count;
      for (const { key } of QUANTITIES) this.values[key] = answer[key];
      this.newest = answer.end_ms;
    }

    add(at, reading) {
      const last = this.at.length - 1;
      if (last >= 0 && at < this.at[last] + this.width) {
        const count = ++this.count[last];
        for (const { key } of QUANTITIES) {
          const { min, max, avg } = this.values[key];
          min[last] = Math.min(min[last], reading[key]);
          max[last] = Math.max(max[last], reading[key]);
          avg[last] += (reading[key] - avg[last]) / count;
        }
      } else {
        this.at.push(at);
        this.count.push(1);
        for (const { key } of QUANTITIES) {
          for (const figure of Object.values(this.values[key])) figure.push(reading[key]);
        }
      }
      this.newest = Math.max(this.newest || 0, at);
      const begins = this.newest - milliseconds(this.period);
      let gone = 0;
      while (gone < this.at.length && this.at[gone] + this.width < begins) gone += 1;
      if (gone) {
        this.at.splice(0, gone);
        this.count.splice(0, gone);
        for (const { key } of QUANTITIES) {
          for (const figure of Object.values(this.values[key])) figure.splice(0, gone);
        }
      }
    }

    figures(key) {
      const { min, max, avg } = this.values[key];
      let low = Infinity, high = -Infinity, sum = 0, count = 0;
      for (let i = 0; i < this.at.length; i++) {
        low = Math.min(low, min[i]);
        high = Math.max(high, max[i]);
        sum += avg[i] * this.count[i];
        count += this.count[i];
      }
      return count ? { min: low, max: high, avg: sum / count } : null;
    }
  }

  class View {
    constructor(rootId, meter, url, options) {
      this.root = document.getElementById(rootId);
      this.meter = meter;
      this.chartId = options.chart;
      this.shown = options.shown || QUANTITIES.map(({ key }) => key);
      this.isSmall = Boolean(options.small);
      this.choose(options.period);
      const own = (handler) => (event) => {
        const data = JSON.parse(event.data);
        if (data.meter === this.meter) handler(data);
      };
      this.forget = listen(url, {
        open: () => this.reload(),
        error: () => this.state({ condition: "server not reached", connected: false, last_error: "" }),
        state: own((data) => this.state(data)),
        readings: own((data) => this.readings(data)),
        latest: own((data) => this.show(data)),
        age: own((data) => {
          this.cameAt = data.age_s === null ? undefined : performance.now() - 1000 * data.age_s;
        }),
        session: own((data) => this.session(data)),
      });
      this.timer = setInterval(() => this.draw(), DRAW_MS);
    }

    choose(period) {
      this.steps = new Steps(period, this.isSmall ? 150 : 600);
      this.reload();
    }

    // Fetched anew after a break too, so that what was measured meanwhile is there.
    async reload() {
      const steps = this.steps;
      try {
        const address = `/api/chart/${steps.period}?buckets=${steps.most}&meter=${encodeURIComponent(this.meter)}`;
        const answer = await fetch(address);
        if (!answer.ok || steps !== this.steps) return;
        steps.fill(await answer.json());
        this.changed = true;
      } catch {
        return; // the stream's own error is on the page already
      }
    }

    state(data) {
      for (const element of this.root.querySelectorAll('[data-bw="condition"]')) {
        element.textContent = data.condition;
        element.dataset.state = data.connected ? "connected" : "away";
      }
      put(this.root, "last_error", data.last_error || "");
      put(this.root, "alarms", (data.alarms || []).map((kind) => kind.replaceAll("_", " ")).join(" · "));
      this.interval = data.polling_interval;
      this.root.dataset.connected = String(data.connected);
      this.root.dataset.alarm = String(Boolean((data.alarms || []).length));
    }

    readings(data) {
      for (let i = 0; i < data.at_ms.length; i++) {
        this.steps.add(data.at_ms[i], { voltage: data.voltage[i], current: data.current[i], power: data.power[i] });
      }
      this.show(data);
      this.root.dataset.readings = String(Number(this.root.dataset.readings || 0) + data.at_ms.length);
      this.changed = true;
    }

    show(data) {
      this.latest = data.latest;
      this.changed = true;
    }

    session(data) {
      const running = data.reason === null;
      put(this.root, "session", running ? `charging since ${data.start_utc.slice(11, 19)} UTC` : `last charge ${data.wh.toFixed(3)} Wh`);
    }

    draw() {
      if (!this.root.isConnected) {
        this.close();
        return;
      }
      if (this.cameAt !== undefined) {
        put(this.root, "age", `${((performance.now() - this.cameAt) / 1000).toFixed(1)} s ago`);
      }
      if (!this.changed) return;
      this.changed = false;
      if (this.latest) {
        for (const { key, digits } of QUANTITIES) put(this.root, key, this.latest[key].toFixed(digits));
        for (const key of ["temperature", "resistance", "d_plus", "d_minus", "mah_g0", "mwh_g0", "mah_g1", "mwh_g1"]) {
          put(this.root, key, String(this.latest[key]));
        }
      }
      for (const { key, digits } of QUANTITIES) {
        const figures = this.steps.figures(key);
        for (const figure of ["min", "avg", "max"]) {
          put(this.root, `${key}-${figure}`, figures ? figures[figure].toFixed(digits) : "-");
        }
      }
      this.chart();
    }

    chart() {
      const place = document.getElementById(this.chartId);
      const chart = place && benchwire.chartIn(place);
      if (!chart) {
        this.changed = true;
        return;
      }
      const shown = QUANTITIES.filter(({ key }) => this.shown.includes(key));
      const height = (this.isSmall ? 78 : 84) / shown.length;
      const end = this.steps.newest || Date.now();
      const text = { color: ink(), fontSize: 11 };
      const grid = [], xAxis = [], yAxis = [], series = [];
      // A stretch without readings is a break in the line, not a slope.
      const gap = Math.max(5 * this.steps.width, 5000 * (this.interval || 1), 2000);
      shown.forEach(({ key, name, unit, color }, i) => {
        grid.push({ left: this.isSmall ? 8 : 62, right: 14, top: `${4 + i * (height + 4)}%`, height: `${height - 2}%` });
        const isLast = i === shown.length - 1;
        xAxis.push({ gridIndex: i, type: "time", min: end - milliseconds(this.steps.period), max: end,
          axisLabel: { show: isLast && !this.isSmall, ...text, hideOverlap: true }, axisTick: { show: isLast && !this.isSmall }, splitLine: { show: false } });
        yAxis.push({ gridIndex: i, type: "value", scale: true, name: this.isSmall ? "" : `${name} / ${unit}`, nameLocation: "middle", nameGap: 46,
          nameTextStyle: text, axisLabel: { show: !this.isSmall, ...text }, splitNumber: 3, splitLine: { show: !this.isSmall, lineStyle: { opacity: 0.25 } } });
        const { min, max, avg } = this.steps.values[key];
        const low = [], span = [], mean = [];
        for (let k = 0; k < this.steps.at.length; k++) {
          const at = this.steps.at[k];
          if (k && at - this.steps.at[k - 1] > gap) {
            for (const line of [low, span, mean]) line.push([at - 1, null]);
          }
          low.push([at, min[k]]);
          span.push([at, max[k] - min[k]]);
          mean.push([at, avg[k]]);
        }
        const common = { type: "line", xAxisIndex: i, yAxisIndex: i, showSymbol: false, color, silent: true };
        series.push({ ...common, data: low, stack: key, lineStyle: { opacity: 0 } });
        series.push({ ...common, data: span, stack: key, lineStyle: { opacity: 0 }, areaStyle: { opacity: 0.28 } });
        series.push({ ...common, name, data: mean, lineStyle: { width: 1.6 }, silent: false });
      });
      chart.setOption({
        animation: false, grid, xAxis, yAxis, series, legend: { show: false },
        axisPointer: { link: [{ xAxisIndex: "all" }] },
        tooltip: this.isSmall ? { show: false } : { trigger: "axis", formatter: (items) => this.told(items) },
      }, { replaceMerge: ["series", "grid", "xAxis", "yAxis"] });
      this.root.dataset.steps = String(this.steps.at.length);
    }

    told(items) {
      const at = items.length ? items[0].value[0] : null;
      const k = this.steps.at.indexOf(at);
      if (k < 0) return "";
      const lines = QUANTITIES.map(({ key, name, unit, digits }) => {
        const { min, max, avg } = this.steps.values[key];
        return `${name}: ${avg[k].toFixed(digits)} ${unit} (${min[k].toFixed(digits)} to ${max[k].toFixed(digits)})`;
      });
      return [new Date(at).toLocaleString(), ...lines].join("<br>");
    }

    close() {
      clearInterval(this.timer);
      this.forget();
    }
  }

  const views = new Map();

  return {
    watch(rootId, meter, url, options) {
      const before = views.get(rootId);
      if (before) before.close();
      views.set(rootId, new View(rootId, meter, url, options));
    },
    choose(rootId, period) {
      const view = views.get(rootId);
      if (view) view.choose(period);
    },
  };
})();
