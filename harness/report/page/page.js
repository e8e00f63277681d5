"use strict";
// Draws the charts, and lets the reader filter methods, sort tables and look into runs.

const DATA = JSON.parse(document.getElementById("data").textContent);
const MOST_ROWS = 200;
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
  const asked = place.parentElement.querySelector("select.asked");
  const chosen = () => Number(asked.value);
  if (asked) spec.params = spec.params.map((one) => (one.name === "asked" ? { ...one, value: chosen() } : one));
  const options = { mode: "vega-lite", renderer: "svg", ast: true, actions: false, config: CONFIG,
    logLevel: 1, // errors: a chart with all methods hidden has no extent, and that is no fault
    tooltip: { disableDefaultStyle: true } };
  const { view } = await vegaEmbed(place, spec, options);
  view.addEventListener("click", (event, item) => item && item.datum && choose(id, item.datum));
  (views[id] ||= []).push(view);
  if (asked) asked.addEventListener("change", () => view.signal("asked", chosen()).runAsync());
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
  if (!datum.label || !DATA.sections[id].runs.length) return;
  const section = document.getElementById(id);
  const find = section.querySelector(".runs-find");
  find.value = `"${datum.label}"${datum.asked_text ? ` ${datum.asked_text}` : ""}`;
  find.dispatchEvent(new Event("input"));
  find.scrollIntoView({ block: "center" });
  find.focus();
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

// ---- tables

function sortable(table) {
  for (const [column, head] of [...table.querySelectorAll("thead th")].entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(table, column, head));
  }
}

function sort(table, column, head) {
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows].map((row) => [key(row.cells[column]), row]);
  rows.sort(([a], [b]) => compare(a, b) * (down ? -1 : 1));
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

function key(cell) {
  return cell.dataset.sorts === undefined ? cell.textContent : Number(cell.dataset.sorts);
}

function compare(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}

// ---- runs

const percent = (share) => (share === null ? "failed" : (100 * share).toFixed(2));
const times = (ratio) => (ratio === null ? "-" : `${Number(ratio.toPrecision(4))}x`);
const COLUMNS = [
  ["Method", (run) => run.label],
  ["Asked", (run) => times(run.asked), (run) => run.asked],
  ["Seed", (run) => String(run.seed), (run) => run.seed],
  ["Level", (run) => String(run.level), (run) => run.level],
  ["Top-1, %", (run) => percent(run.top1), (run) => run.top1 ?? -1],
  ["Against dense, points", (run) => (run.change === null ? "-" : `${run.change > 0 ? "+" : ""}${(100 * run.change).toFixed(2)}`),
    (run) => run.change ?? -1e9],
  ["Compression", (run) => times(run.compression), (run) => run.compression ?? -1],
  ["Speed-up", (run) => times(run.speedup), (run) => run.speedup ?? -1],
];

function runsTable(section) {
  const { runs } = DATA.sections[section.id];
  const table = section.querySelector("table.runs");
  const find = section.querySelector(".runs-find");
  const words = runs.map((run) => `"${run.label}" ${times(run.asked)} seed ${run.seed} ${run.folder} `.toLowerCase());
  let by = null;
  let down = false;
  const fill = () => {
    const asked = find.value.toLowerCase().match(/"[^"]*"?|\S+/g) || [];
    const matches = (text) => asked.every((word) => text.includes(/^[\d.]+x$/.test(word) ? ` ${word} ` : word));
    let found = runs.filter((run, number) => matches(words[number]));
    if (by !== null) {
      const of = COLUMNS[by][2] || COLUMNS[by][1];
      found = [...found].sort((a, b) => compare(of(a), of(b)) * (down ? -1 : 1));
    }
    const more = found.length > MOST_ROWS ? `, the first ${MOST_ROWS} shown` : "";
    section.querySelector("output").textContent = `${found.length} of ${runs.length} results${more}`;
    table.tBodies[0].replaceChildren(...found.slice(0, MOST_ROWS).map(runRow));
  };
  table.createTHead().append(headRow((column, head) => {
    down = by === column && !down;
    by = column;
    for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    fill();
  }));
  table.createTBody();
  table.createCaption().textContent = "Results of single runs; the last column shows how each was made";
  find.addEventListener("input", fill);
  fill();
}

function headRow(sorted) {
  const row = document.createElement("tr");
  COLUMNS.forEach(([title], column) => {
    const head = element("th");
    head.scope = "col";
    const button = element("button", title);
    button.type = "button";
    button.addEventListener("click", () => sorted(column, head));
    head.append(button);
    row.append(head);
  });
  const last = element("th", "Run and config");
  last.scope = "col";
  row.append(last);
  return row;
}

function runRow(run) {
  const row = document.createElement("tr");
  COLUMNS.forEach(([, text], column) => row.append(element(column ? "td" : "th", text(run))));
  row.firstChild.scope = "row";
  const cell = element("td");
  const button = element("button", run.folder);
  button.type = "button";
  button.addEventListener("click", () => showRun(run));
  cell.append(button);
  row.append(cell);
  return row;
}

function showRun(run) {
  const made = DATA.runs[run.folder] || { own: {}, command: "", config: "" };
  const dialog = document.getElementById("run");
  document.getElementById("run-title").textContent = `${run.label}, ${times(run.asked)}, seed ${run.seed}`;
  const config = made.config ? element("a", made.config) : element("span", "not beside this page");
  if (made.config) config.href = made.config.split("/").map(encodeURIComponent).join("/");
  dialog.querySelector("div").replaceChildren(
    list([["Folder", run.folder], ["Command", element("code", made.command || "not recorded")], ["config.yaml", config]]),
    element("h3", "Made with"), list(Object.entries(DATA.environments[made.environment] || {})),
    element("h3", "What sets this run apart"), list(Object.entries(made.own)),
    element("h3", "Common to all runs of this page"), list(Object.entries(DATA.common)));
  dialog.showModal();
}

function list(pairs) {
  const found = document.createElement("dl");
  for (const [name, value] of pairs) {
    const shown = element("dd");
    shown.append(value);
    found.append(element("dt", name), shown);
  }
  return found;
}

function element(tag, text = "") {
  const found = document.createElement(tag);
  found.textContent = text;
  return found;
}

for (const section of document.querySelectorAll("section[id]")) {
  if (section.querySelector(".legend")) legend(section);
  if (section.querySelector("table.runs")) runsTable(section);
}
for (const table of document.querySelectorAll("table.sorts:not(.runs)")) sortable(table);
drawAll();
