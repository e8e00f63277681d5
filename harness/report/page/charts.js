// The charts: drawn, filtered by method, and led from to the runs of a point.

const INK = "currentColor";
const LINE = "rgba(128, 128, 128, 0.35)";
const CONFIG = {
  background: "transparent",
  font: "system-ui, sans-serif",
  view: { stroke: "transparent" },
  axis: { labelColor: INK, titleColor: INK, tickColor: LINE, domainColor: LINE, gridColor: LINE,
    labelFontSize: 12, titleFontSize: 13, titleFontWeight: "normal" },
};
const views = {}; // by section: the charts that are drawn

function datasets(rows) {
  return Object.fromEntries(["points", "dense", "published", "curves"].map(
    (name) => [name, (rows[name] || []).map((row) => ({ ...row }))]));
}

async function draw(place) {
  const id = place.dataset.section;
  const { rows, charts } = DATA.sections[id];
  const spec = { ...charts[place.dataset.chart], datasets: datasets(rows) };
  const requested = place.parentElement.querySelector("select.requested");
  const chosen = () => Number(requested.value);
  if (requested) spec.params = spec.params.map((one) => (one.name === "requested" ? { ...one, value: chosen() } : one));
  const options = { mode: "vega-lite", renderer: "svg", ast: true, actions: false, config: CONFIG,
    logLevel: 1, // errors: a chart with all methods hidden has no extent, and that is no fault
    tooltip: { disableDefaultStyle: true } };
  const { view } = await vegaEmbed(place, spec, options);
  view.addEventListener("click", (event, item) => item && item.datum && choose(id, item.datum));
  reachable(place, id);
  (views[id] ||= []).push(view);
  if (requested) requested.addEventListener("change", () => view.signal("requested", chosen()).runAsync());
  place.dataset.drawn = "yes";
}

async function drawAll() {
  // One after the other, so that the page can be read and scrolled meanwhile.
  for (const place of document.querySelectorAll(".chart")) {
    try {
      await draw(place);
    } catch (error) {
      place.textContent = `This chart could not be drawn: ${error.message}`;
    }
  }
  document.body.dataset.drawn = "all";
}

function choose(id, datum) {
  if (!DATA.sections[id].runs.some((run) => run.label === datum.label)) return; // published, a layer
  const section = document.getElementById(id);
  const find = section.querySelector(".runs-find");
  find.value = `"${datum.label}"${datum.requested_text ? ` ${datum.requested_text}` : ""}`;
  find.dispatchEvent(new Event("input"));
  find.scrollIntoView({ block: "center" });
  find.focus();
}

// ---- points by keyboard: a stop of the tab key per chart, arrows from point to point

function reachable(place, id) {
  if (!place.querySelector(".mark-symbol")) return; // learning curves
  const caption = place.parentElement.querySelector("figcaption").textContent;
  place.tabIndex = 0;
  place.setAttribute("role", "group");
  place.setAttribute("aria-label", `${caption}: arrow keys lead from point to point, Enter shows its runs`);
  place.addEventListener("keydown", (event) => {
    // Drawn anew whenever methods are hidden or shown.
    const points = [...place.querySelectorAll(".mark-symbol path[d]")];
    const at = points.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: Math.max(at, 0) - 1, Home: 0, End: -1 }[event.key];
    if (points.length && to !== undefined) visit(points.at(to % points.length));
    else if (event.key === "Enter" && at >= 0) choose(id, points[at].__data__.datum);
    else return;
    event.preventDefault();
  });
  place.addEventListener("focusout", (event) => hover(event.target, "mouseout"));
}

function visit(point) {
  point.tabIndex = -1;
  point.focus();
  hover(point, "pointermove");
}

// As Vega listens to the mouse: it shows the point's text, or takes it away.
function hover(point, type) {
  const { x, y, width, height } = point.getBoundingClientRect();
  point.dispatchEvent(new PointerEvent(type, { bubbles: true, clientX: x + width / 2, clientY: y + height / 2 }));
}

// ---- methods shown and hidden

function legend(section) {
  const boxes = [...section.querySelectorAll(".boxes input")];
  const shown = () => {
    const hidden = boxes.filter((box) => !box.checked).map((box) => box.value);
    for (const view of views[section.id] || []) view.signal("hidden", hidden).runAsync();
    for (const row of section.querySelectorAll("tr[data-label]"))
      row.hidden = hidden.includes(row.dataset.label);
  };
  section.addEventListener("change", (event) => event.target.closest(".boxes") && shown());
  const find = section.querySelector(".find");
  find.addEventListener("input", () => {
    const word = find.value.toLowerCase();
    for (const box of boxes) {
      box.checked = box.value.toLowerCase().includes(word);
      box.parentElement.hidden = !box.checked;
    }
    shown();
  });
  for (const button of section.querySelectorAll("[data-check]"))
    button.addEventListener("click", () => {
      find.value = "";
      for (const box of boxes) {
        box.checked = button.dataset.check === "all";
        box.parentElement.hidden = false;
      }
      shown();
    });
}
