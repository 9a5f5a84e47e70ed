"""What a page keeps from people who see, point or read otherwise."""

import contextlib
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT

_playwright = pytest.importorskip("playwright.sync_api")

STANDARDS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa")
MOST_STOPS = 600

_RUN_AXE = """
(standards) => axe.run(document, {
  runOnly: { type: "tag", values: standards }, resultTypes: ["violations"],
}).then(({ violations }) => violations.map(({ id, help, nodes }) => ({
  id, help, nodes: nodes.map(({ html, target, any, all, none }) => ({
    html: html.slice(0, 220), target: target.join(" "),
    why: [...any, ...all, ...none].map(({ message }) => message).slice(0, 2).join("; "),
  })),
})))
"""

# What can be pointed at: controls, and whatever shows the hand. Of nested ones the outermost
# counts, and what lies in a label or holds a control is reached through that control.
_POINTABLE = """
() => {
  const isShown = (element) => element.checkVisibility({ visibilityProperty: true })
    && element.getClientRects().length > 0 && !element.closest("[inert], [aria-hidden=true]");
  const control = "a[href], button, input:not([type=hidden]), select, textarea, summary, "
    + "[tabindex], [role=button], [role=link], [role=switch], [role=checkbox], [role=slider], "
    + "[role=tab]";
  const isDisabled = (element) => element.closest(":disabled, [aria-disabled=true], .disabled");
  const hasHand = (element) => ["pointer", "crosshair"].includes(getComputedStyle(element).cursor);
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    if (!isShown(element) || isDisabled(element)) continue;
    const isControl = element.matches(control) && element.getAttribute("tabindex") !== "-1";
    const isHand = hasHand(element) && !(element.parentElement && hasHand(element.parentElement))
      && !element.closest("label");
    if (isControl || isHand) found.push(element);
  }
  window.pointable = found;
  window.stops = new Set();
  return found.length;
}
"""

_START = """
() => {
  const start = document.createElement("span");
  start.tabIndex = 0;
  document.body.prepend(start);
  start.focus();
  start.remove();
  window.lastStop = null;
}
"""

# The parts of one field, such as day and month of a date, are stops with the same element.
_NOTE_STOP = """
async () => {
  const at = document.activeElement;
  const before = window.lastStop;
  window.lastStop = at;
  if (!at || at === document.body) return "outside";
  if (at === before) return "same";
  if (window.stops.has(at)) return "again";
  window.stops.add(at);
  const hasRing = (part) => {
    const style = getComputedStyle(part);
    return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
  };
  // A field's ring is around its frame, that of a card around the card.
  const around = [at.closest(".q-field")?.querySelector(".q-field__control"), at.closest("article"),
    at.closest(".q-slider")];
  const isRinged = () => [at, ...around].some((part) => part && hasRing(part));
  // The ring may still be on its way.
  const arriving = document.getAnimations().filter((one) => one instanceof CSSTransition);
  const isSeen = isRinged()
    || (await Promise.allSettled(arriving.map((one) => one.finished)), isRinged());
  return isSeen ? "seen" : at.outerHTML.slice(0, 160);
}
"""

# Radio buttons are one stop; arrows move between them.
_UNREACHED = """
() => window.pointable.filter((element) => {
  if (!element.isConnected || window.stops.has(element)) return false;
  for (const stop of window.stops) {
    if (element.contains(stop) || stop.contains(element)) return false;
  }
  const group = element.closest("[role=radiogroup], [role=tablist]");
  if (group && [...window.stops].some((stop) => group.contains(stop))) return false;
  // What is for the pointer alone names what does the same by keyboard.
  const other = document.getElementById(element.getAttribute("aria-controls") || "");
  if (other && [...window.stops].some((stop) => other.contains(stop))) return false;
  const field = element.closest(".q-field");
  return !(field && [...window.stops].some((stop) => field.contains(stop)));
}).map((element) => element.outerHTML.slice(0, 160))
"""


def violations(page: Any) -> list[str]:
    """Return what axe finds on a page, one text for each element."""
    if not page.evaluate("() => Boolean(window.axe)"):
        page.evaluate(AXE_SCRIPT)
    return [
        f"{item['id']}: {node['why'] or item['help']}\n    {node['target']}\n    {node['html']}"
        for item in page.evaluate(_RUN_AXE, list(STANDARDS))
        for node in item["nodes"]
    ]


def spills(page: Any) -> list[str]:
    """Return what reaches beyond the right edge, where the page can be scrolled sideways."""
    # A page that has just become narrow moves its navigation away first.
    with contextlib.suppress(_playwright.TimeoutError):
        page.wait_for_function(
            "() => document.scrollingElement.scrollWidth <= innerWidth", timeout=3000
        )
    return page.evaluate(
        """() => {
          const root = document.scrollingElement;
          if (root.scrollWidth <= innerWidth) return [];
          const found = [...document.body.querySelectorAll("*")].filter((element) =>
            element.getBoundingClientRect().right > innerWidth + 0.5
            && element.checkVisibility() && !element.querySelector("*"));
          const told = found.map((element) => element.outerHTML.slice(0, 160));
          return [`${root.scrollWidth} px`, ...told];
        }"""
    )


def keyboard_gaps(page: Any) -> tuple[list[str], list[str]]:
    """Walk a page by Tab; return what cannot be reached, and what does not show that it was."""
    page.evaluate(_POINTABLE)
    page.evaluate(_START)
    unmarked = []
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        seen = page.evaluate(_NOTE_STOP)
        if seen in {"again", "outside"}:
            break
        if seen not in {"seen", "same"}:
            unmarked.append(seen)
    return page.evaluate(_UNREACHED), unmarked
