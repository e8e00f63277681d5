// Makes tables sort, and fills the table of runs, which shows how each run was made.

const MOST_ROWS = 200;

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
  for (const header of table.querySelectorAll("[aria-sort]")) header.removeAttribute("aria-sort");
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

// Says above a table that is wider than the page that it goes on, and fades its right edge.
function goesOn(scroll) {
  const note = element("p", "More columns: scroll sideways \u2192");
  note.className = "goes-on";
  scroll.before(note);
  const tell = () => {
    const beyond = scroll.scrollWidth - scroll.clientWidth;
    const more = beyond - scroll.scrollLeft > 1;
    note.hidden = beyond <= 1;
    note.style.visibility = more ? "visible" : "hidden"; // its room stays, so that nothing jumps
    scroll.classList.toggle("goes-on-right", more);
  };
  scroll.addEventListener("scroll", tell, { passive: true });
  const sizes = new ResizeObserver(tell);
  for (const part of [scroll, ...scroll.children]) sizes.observe(part);
}

// ---- runs

const shown = (value, { factor }) => (value === null ? "failed" : factor === 100 ? (100 * value).toFixed(2) : String(Number(value.toPrecision(4))));
const times = (ratio) => (ratio === null ? "-" : `${Number(ratio.toPrecision(4))}x`);
const COLUMNS = [
  ["Method", (run) => run.label],
  ["Requested", (run) => times(run.requested), (run) => run.requested],
  ["Seed", (run) => String(run.seed), (run) => run.seed],
  ["Level", (run) => String(run.level), (run) => run.level],
  ["Top-1, %", (run, measure) => shown(run.top1, measure), (run) => run.top1 ?? -1],
  ["Against dense, points", (run, measure) => (run.change === null ? "-" : `${run.change > 0 ? "+" : ""}${shown(run.change, measure)}`),
    (run) => run.change ?? -1e9],
  ["Compression", (run) => times(run.compression), (run) => run.compression ?? -1],
  ["Speed-up", (run) => times(run.speedup), (run) => run.speedup ?? -1],
];

function runsTable(section) {
  const { runs, measure } = DATA.sections[section.id];
  const table = section.querySelector("table.runs");
  const find = section.querySelector(".runs-find");
  const words = runs.map((run) => `"${run.label}" ${times(run.requested)} seed ${run.seed} ${run.folder} `.toLowerCase());
  let by = null;
  let down = false;
  const fill = () => {
    const wanted = find.value.toLowerCase().match(/"[^"]*"?|\S+/g) || [];
    const matches = (text) => wanted.every((word) => text.includes(/^[\d.]+x$/.test(word) ? ` ${word} ` : word));
    let matching = runs.filter((run, number) => matches(words[number]));
    if (by !== null) {
      const value = COLUMNS[by][2] || COLUMNS[by][1];
      matching = [...matching].sort((a, b) => compare(value(a), value(b)) * (down ? -1 : 1));
    }
    const more = matching.length > MOST_ROWS ? `, the first ${MOST_ROWS} shown` : "";
    section.querySelector("output").textContent = `${matching.length} of ${runs.length} results${more}`;
    table.tBodies[0].replaceChildren(...matching.slice(0, MOST_ROWS).map((run) => runRow(run, measure)));
  };
  table.createTHead().append(headRow(measure, (column, head) => {
    down = by === column && !down;
    by = column;
    for (const header of table.querySelectorAll("[aria-sort]")) header.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    fill();
  }));
  table.createTBody();
  table.createCaption().textContent = "Results of single runs; the last column shows how a run was made";
  find.addEventListener("input", fill);
  fill();
}

function headRow(measure, sorted) {
  const row = document.createElement("tr");
  COLUMNS.forEach(([title], column) => {
    const head = element("th");
    head.scope = "col";
    const renamed = measure.title === "Top-1 accuracy, %" ? {} : { "Top-1, %": measure.title, "Against dense, points": "Against dense" };
    const button = element("button", renamed[title] || title);
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

function runRow(run, measure) {
  const row = document.createElement("tr");
  COLUMNS.forEach(([, text], column) => row.append(element(column ? "td" : "th", text(run, measure))));
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
  document.getElementById("run-title").textContent = `${run.label}, ${times(run.requested)}, seed ${run.seed}`;
  const config = made.config ? element("a", made.config) : element("span", "not found beside this page");
  if (made.config) config.href = made.config.split("/").map(encodeURIComponent).join("/");
  dialog.querySelector("div").replaceChildren(
    list([["Folder", run.folder], ["Command", element("code", made.command || "not recorded")], ["config.yaml", config]]),
    element("h3", "Made with"), list(Object.entries(DATA.environments[made.environment] || {})),
    element("h3", "What sets this run apart"), list(Object.entries(made.own)),
    element("h3", "Common to all runs of this page"), list(Object.entries(DATA.common)));
  dialog.showModal();
}

function list(pairs) {
  const terms = document.createElement("dl");
  for (const [name, value] of pairs) {
    const shown = element("dd");
    shown.append(value);
    terms.append(element("dt", name), shown);
  }
  return terms;
}

function element(tag, text = "") {
  const node = document.createElement(tag);
  node.textContent = text;
  return node;
}
