// Starts the page: reads its data, and makes legends, tables and charts work.

const DATA = JSON.parse(document.getElementById("data").textContent);

for (const section of document.querySelectorAll("section[id]")) {
  if (section.querySelector(".legend")) legend(section);
  if (section.querySelector("table.runs")) runsTable(section);
}
for (const table of document.querySelectorAll("table.sorts:not(.runs)")) sortable(table);
for (const scroll of document.querySelectorAll(".scroll")) goesOn(scroll);
drawAll();
