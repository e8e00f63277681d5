// Draws the charts, filters them by method, and leads from a point to its runs.

const INK = "currentColor";
const LINE = "rgba(128, 128, 128, 0.35)";
const CONFIG = {
  background: "transparent",
  font: "system-ui, sans-serif",
  view: { stroke: "transparent" },
  axis: { labelColor: INK, titleColor: INK, tickColor: LINE, domainColor: LINE, gridColor: LINE,
    labelFontSize: 12, titleFontSize: 13, titleFontWeight: "normal" },
};
const views = {}; // the drawn charts by section

function datasets(rows) {
  return Object.fromEntries(["points", "dense", "published", "curves"].map(
    (name) => [name, (rows[name] || []).map((row) => ({ ...row }))]));
}

async function draw(container) {
  const id = container.dataset.section;
  const { rows, charts } = DATA.sections[id];
  const spec = { ...charts[container.dataset.chart], datasets: datasets(rows) };
  const requested = container.parentElement.querySelector("select.requested");
  const chosen = () => Number(requested.value);
  if (requested) spec.params = spec.params.map((param) => (param.name === "requested" ? { ...param, value: chosen() } : param));
  const options = { mode: "vega-lite", renderer: "svg", ast: true, actions: false, config: CONFIG,
    logLevel: 1, // errors only: a chart with all methods hidden warns that it has no extent
    tooltip: { disableDefaultStyle: true } };
  const { view } = await vegaEmbed(container, spec, options);
  view.addEventListener("click", (event, item) => item && item.datum && choose(id, item.datum));
  reachable(container, id);
  (views[id] ||= []).push(view);
  if (requested) requested.addEventListener("change", () => view.signal("requested", chosen()).runAsync());
  container.dataset.drawn = "yes";
}

async function drawAll() {
  // One after the other, so that the page can be scrolled meanwhile.
  for (const container of document.querySelectorAll(".chart")) {
    try {
      await draw(container);
    } catch (error) {
      container.textContent = `This chart could not be drawn: ${error.message}`;
    }
  }
  document.body.dataset.drawn = "all";
}

function choose(id, datum) {
  if (!DATA.sections[id].runs.some((run) => run.label === datum.label)) return; // a published result or a layer has no runs
  const section = document.getElementById(id);
  const find = section.querySelector(".runs-find");
  find.value = `"${datum.label}"${datum.requested_text ? ` ${datum.requested_text}` : ""}`;
  find.dispatchEvent(new Event("input"));
  find.scrollIntoView({ block: "center" });
  find.focus();
}

// ---- points by keyboard: Tab goes to a chart, arrow keys go from point to point

function reachable(container, id) {
  if (!container.querySelector(".mark-symbol")) return; // learning curves
  const caption = container.parentElement.querySelector("figcaption").textContent;
  container.tabIndex = 0;
  container.setAttribute("role", "group");
  container.setAttribute("aria-label", `${caption}: arrow keys go from point to point, Enter shows the runs of a point`);
  container.addEventListener("keydown", (event) => {
    // Read again each time, because hiding methods redraws the points.
    const points = [...container.querySelectorAll(".mark-symbol path[d]")];
    const at = points.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: Math.max(at, 0) - 1, Home: 0, End: -1 }[event.key];
    if (points.length && to !== undefined) visit(points.at(to % points.length));
    else if (event.key === "Enter" && at >= 0) choose(id, points[at].__data__.datum);
    else return;
    event.preventDefault();
  });
  container.addEventListener("focusout", (event) => hover(event.target, "mouseout"));
}

function visit(point) {
  point.tabIndex = -1;
  point.focus();
  hover(point, "pointermove");
}

// Sends the mouse event on which Vega shows or hides the tooltip of a point.
function hover(point, type) {
  const { x, y, width, height } = point.getBoundingClientRect();
  point.dispatchEvent(new PointerEvent(type, { bubbles: true, clientX: x + width / 2, clientY: y + height / 2 }));
}

// ---- methods that are shown or hidden

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
