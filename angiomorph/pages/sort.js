"use strict";
// Sorts a table by a click on a column's heading: numbers as numbers, cells without text last.
for (const table of document.querySelectorAll("table#sortable")) {
  const headings = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const read = (row, column) => row.cells[column].textContent.trim();
  const compare = (one, other) => {
    const [a, b] = [one, other].map((text) => (text === "" ? NaN : Number(text)));
    return Number.isNaN(a) || Number.isNaN(b) ? one.localeCompare(other, undefined, { numeric: true }) : a - b;
  };

  function sort(column) {
    const way = headings[column].getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const rows = [...body.rows].sort((one, other) => {
      const [a, b] = [read(one, column), read(other, column)];
      return (a === "") - (b === "") || way * compare(a, b);
    });
    for (const heading of headings) heading.removeAttribute("aria-sort");
    headings[column].setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
    body.append(...rows);
  }

  headings.forEach((heading, column) => {
    if (![...body.rows].some((row) => read(row, column))) return;  // pictures alone
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(column));
    heading.append(button);
  });
}
