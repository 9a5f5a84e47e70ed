// Charts in the colours of the theme: options of the server name tokens of the style sheet, and what
// is drawn already follows when the theme changes.
window.bwToken = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

(() => {
  const axis = () => ({
    axisLabel: { color: bwToken("--bw-muted") }, nameTextStyle: { color: bwToken("--bw-muted") },
    axisLine: { lineStyle: { color: bwToken("--bw-control") } }, splitLine: { lineStyle: { color: bwToken("--bw-line") } },
  });

  const follow = () => {
    for (const element of document.querySelectorAll("[data-bw-plot]")) {
      const component = getElement(Number(element.id.slice(1)));
      const chart = component && component.chart;
      if (!chart) continue;
      const { xAxis = [], yAxis = [], legend = [] } = chart.getOption();
      chart.setOption({
        xAxis: xAxis.map(axis), yAxis: yAxis.map(axis),
        legend: legend.map(() => ({ textStyle: { color: bwToken("--bw-text") } })),
      });
    }
  };

  new MutationObserver(follow).observe(document.documentElement, { attributeFilter: ["data-theme"] });
})();
