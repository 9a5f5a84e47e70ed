// What is worked out of the recordings: cycles, throughput, efficiency, health, cells; and what was
// met while they were read. Each card asks when it comes into view and says why it has nothing.
import { echarts } from "nicegui-echart";
import { DASH, DAY, MINUTE, ask, clock, devicePath, h, ink, isKnown, lasting, milliseconds, number, onTheme, quantity, whenSeen, whole } from "./basics.js";
import { axisText, rules, tooltipLook } from "./curves.js";

const SHOWN_CELLS = 12;
const SIGNS = { given: "as given", soc: "as the state of charge tells", assumed: "assumed" };

const facts = (pairs) => h("dl", { class: "bt-facts" }, ...pairs.map(([title, text]) => h("div", {}, h("dt", {}, title), h("dd", {}, text))));

const percent = (share) => (isKnown(share) ? `${number(100 * share, "%")} %` : DASH);

const direction = (sign) => (sign ? `positive means ${sign.positive} (${SIGNS[sign.source] || sign.source})` : DASH);

// A column for each day; days without a value stay empty.
const dayChart = (days, series, unit) => {
  const element = h("div", { class: "bt-tiny-chart", role: "img", "aria-label": `${series.map(({ name }) => name).join(", ")} per day` });
  const draw = (chart) => chart.setOption({
    animation: false, useUTC: true, grid: { left: 48, right: 8, top: 28, bottom: 22 },
    legend: series.length > 1 ? { top: 0, textStyle: { color: ink() }, itemHeight: 8 } : undefined,
    tooltip: { trigger: "axis", ...tooltipLook(), valueFormatter: (value) => quantity(value, unit) },
    xAxis: { type: "time", minInterval: DAY, axisLabel: { ...axisText(), hideOverlap: true } },
    yAxis: { type: "value", name: unit, nameTextStyle: axisText(), axisLabel: axisText(), splitLine: rules() },
    series: series.map(({ name, color, of }) => ({
      name, color, type: "bar", barMaxWidth: 14, data: days.map((day) => [milliseconds(day.start), of(day)]),
    })),
  }, true);
  requestAnimationFrame(() => {
    const chart = echarts.init(element);
    const resizing = new ResizeObserver(() => (element.isConnected ? chart.resize() : (resizing.disconnect(), chart.dispose())));
    resizing.observe(element);
    draw(chart);
    onTheme(element, () => draw(chart));
  });
  return element;
};

const table = (titles, rows) => h("div", { class: "bt-scroll" }, h("table", { class: "bt-table" },
  h("thead", {}, h("tr", {}, ...titles.map((title, i) => h("th", { class: i ? "bt-number" : "" }, title)))),
  h("tbody", {}, ...rows.map((cells) => h("tr", {}, ...cells.map((text, i) => h("td", { class: i ? "bt-number" : "" }, text)))))));

const cycles = async (device) => {
  const { sign, capacity, total, days } = await ask(devicePath("bms", device, "throughput"));
  return [
    facts([
      ["Equivalent full cycles", number(total?.full_cycles ?? total?.soc_full_cycles)],
      ["Charged", quantity(total?.charged_ah, "Ah")], ["Discharged", quantity(total?.discharged_ah, "Ah")],
      ["Energy in", quantity(total?.charged_kwh, "kWh")], ["Energy out", quantity(total?.discharged_kwh, "kWh")],
      ["Capacity", capacity ? `${quantity(capacity.ah, "Ah")}${isKnown(capacity.standard_error_ah) ? ` ± ${number(capacity.standard_error_ah)}` : ""} (${capacity.source})` : DASH],
      ["Not covered", isKnown(total?.uncovered_hours) ? quantity(total.uncovered_hours, "h") : DASH], ["Current", direction(sign)],
    ]),
    dayChart(days, [
      { name: "Charged", color: "#0b9a74", of: (day) => day.charged_ah }, { name: "Discharged", color: "#d55e00", of: (day) => day.discharged_ah },
    ], "Ah"),
  ];
};

const efficiency = (group) => async (device) => {
  const { sign, efficiency: overall, is_corrected: isCorrected, days } = await ask(devicePath(group, device, "efficiency"));
  const known = days.filter((day) => isKnown(day.efficiency)).length;
  return [
    facts([
      ["Round trip", percent(overall)], ["State of charge at the ends", isCorrected ? "allowed for" : "not known"],
      ["Days with a value", `${whole(known)} of ${whole(days.length)}`], [group === "pcs" ? "Power" : "Current", direction(sign)],
    ]),
    dayChart(days, [{ name: "Round trip", color: "#0a7cc4", of: (day) => (isKnown(day.efficiency) ? 100 * day.efficiency : null) }], "%"),
  ];
};

const health = async (device) => {
  const { trend } = await ask(devicePath("bms", device, "soh"));
  const date = (text) => (text ? clock(milliseconds(text)).slice(0, 10) : DASH);
  return [
    facts([
      ["Now", quantity(trend.level_percent, "%")], ["Per month", `${number(trend.percent_per_month)} %`],
      ["Confidence interval (95 %)", `${number(trend.lower)} to ${number(trend.upper)} % per month`],
      ["80 % reached", date(trend.end_of_life)], ["at the earliest", date(trend.earliest)], ["at the latest", date(trend.latest)],
      ["Days", whole(trend.days)],
    ]),
    trend.reason ? h("div", { class: "bt-faint" }, `No date: ${trend.reason}.`) : null,
  ];
};

const cells = async (device) => {
  const { cells: ranked, total_cells: total, pack } = await ask(devicePath("bms", device, "imbalance"), { limit: SHOWN_CELLS });
  if (pack) {
    return [
      h("div", { class: "bt-faint" }, "No single cells were recorded; this is the pack's highest less its lowest cell."),
      facts([["Mean spread", quantity(pack.mean_mv, "mV")], ["Trend", isKnown(pack.trend_mv_per_day) ? `${number(pack.trend_mv_per_day)} mV per day` : DASH]]),
      dayChart(pack.days, [{ name: "Mean spread", color: "#b45fa0", of: (day) => day.mean_mv }], "mV"),
    ];
  }
  return [
    h("div", { class: "bt-faint" }, `The ${ranked.length} of ${whole(total)} cells that are furthest off the median of all.`),
    table(["Cell", "Mean / mV", "At rest", "Charging", "Discharging", "Spread / mV", "Trend / mV per day"], ranked.map((cell) => [
      cell.cell.replace("bms1_", ""), number(cell.mean_mv), number(cell.at_rest_mv), number(cell.charging_mv), number(cell.discharging_mv),
      number(cell.spread_mv), number(cell.trend_mv_per_day),
    ])),
  ];
};

export const drawFigures = (root, device, groups) => {
  const cards = [
    ["Cycles and throughput", "bms", cycles], ["Efficiency at the battery", "bms", efficiency("bms")], ["Efficiency at the converter", "pcs", efficiency("pcs")],
    ["State of health", "bms", health], ["Cells", "bms", cells],
  ];
  for (const [title, group, load] of cards) {
    if (!groups.includes(group)) continue;
    const body = h("div", { class: "w-full" });
    const card = h("section", { class: "bt-figure", "data-figure": title }, h("h2", {}, title), body);
    root.append(card);
    whenSeen(card, async () => {
      card.dataset.busy = "true";
      try {
        body.replaceChildren(...(await load(device)).filter(Boolean));
      } catch (error) {
        body.replaceChildren(h("div", { class: "bt-faint" }, error.message));
      }
      card.dataset.busy = "false";
    });
  }
};

const odd = (report) => [
  [report.bad_times, "bad times"], [report.bad_values, "bad values"], [report.repeated, "repeated"], [report.unsorted, "out of order"],
  [report.unterminated, "cut last line"], [report.has_bom ? 1 : 0, "byte-order mark"], [report.wrong_case, "wrong case"],
].filter(([count]) => count).map(([count, what]) => (count === 1 ? what : `${whole(count)} ${what}`)).join(", ");

export const drawReport = async (root, device, groups) => {
  root.dataset.busy = "true";
  for (const group of groups) {
    try {
      const { signals, total_rows: rows, live_rows: live, timeline_metric: metric } = await ask(devicePath(group, device, "report"));
      root.append(h("h3", { class: "bt-sub" }, group.toUpperCase()),
        h("div", { class: "bt-faint" }, `${whole(rows)} rows, ${whole(live)} of them live${metric ? `; the times are those of ${metric}` : ""}.`));
      const lines = Object.entries(signals).map(([field, report]) => [
        field, whole(report.rows), whole(report.nulls), isKnown(report.median_interval_s) ? lasting(1000 * report.median_interval_s) : DASH, whole(report.gaps),
        report.longest_gap_s ? lasting(Math.round((1000 * report.longest_gap_s) / MINUTE) * MINUTE) : DASH, report.error || odd(report) || "nothing",
      ]);
      if (lines.length) root.append(table(["Signal", "Samples", "Nulls", "Usually every", "Gaps", "Longest", "Left out or odd"], lines));
    } catch (error) {
      root.append(h("div", { class: "bt-trouble" }, error.message));
    }
  }
  root.dataset.busy = "false";
};
