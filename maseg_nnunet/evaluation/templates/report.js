"use strict";
// Sorts, filters and opens the cases in the list. Nothing else on the page needs a script.
(() => {
  const body = document.querySelector("#list tbody");
  const rows = Array.from(body.rows);
  const headers = Array.from(document.querySelectorAll("#list th[aria-sort]"));
  const search = document.querySelector("#search");
  const selects = Array.from(document.querySelectorAll("select[data-filter]"));
  const viewer = document.querySelector("#viewer");
  let opened = null;

  const visible = () => Array.from(body.rows).filter((row) => !row.hidden);

  function filter() {
    const text = search.value.trim().toLowerCase();
    for (const row of rows) {
      const values = JSON.parse(row.dataset.filters);
      const found = text === "" || row.textContent.toLowerCase().includes(text);
      row.hidden = !found || selects.some((select) => select.value && !values[select.dataset.filter].includes(select.value));
    }
    document.querySelector("#count").textContent = `${visible().length} of ${rows.length} cases`;
  }

  // Cells without a score stay at the end in both directions.
  function sort(header) {
    const column = header.cellIndex;
    const descending = header.getAttribute("aria-sort") === "ascending";
    headers.forEach((other) => other.setAttribute("aria-sort", "none"));
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const value = (row) => row.cells[column].dataset.value;
    const numeric = rows.every((row) => value(row) === "" || !Number.isNaN(Number(value(row))));
    const compare = (a, b) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = numeric ? Number(a) - Number(b) : a.localeCompare(b);
      return descending ? -order : order;
    };
    body.append(...Array.from(body.rows).sort((a, b) => compare(value(a), value(b))));
  }

  function open(row) {
    opened = row;
    const button = row.querySelector(".open");
    document.querySelector("#viewer-title").textContent = row.id.slice("case-".length);
    document.querySelector("#viewer-picture").replaceChildren(...Array.from(button.childNodes, (node) => node.cloneNode(true)));
    const values = document.querySelector("#viewer-values");
    values.replaceChildren();
    headers.forEach((header) => {
      const pair = document.createElement("div");
      const [name, value] = [document.createElement("dt"), document.createElement("dd")];
      name.textContent = header.textContent;
      value.textContent = row.cells[header.cellIndex].textContent || "–";
      pair.append(name, value);
      values.append(pair);
    });
    if (!viewer.open) viewer.showModal();
  }

  function step(by) {
    const shown = visible();
    const next = shown[shown.indexOf(opened) + by];
    if (next) open(next);
  }

  function openNamed() {
    const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (row && row.parentElement === body) open(row);
  }

  // Not <button>: browsers omit form controls from the header that they repeat on each printed page.
  headers.forEach((header) => {
    header.firstElementChild.addEventListener("click", () => sort(header));
    header.firstElementChild.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      sort(header);
    });
  });
  body.addEventListener("click", (event) => {
    const button = event.target.closest(".open");
    if (button) open(button.closest("tr"));
  });
  search.addEventListener("input", filter);
  selects.forEach((select) => select.addEventListener("change", filter));
  document.querySelector("#filters").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("change", (event) => {
    if (!event.target.matches(".toggle")) return;
    document.body.classList.toggle(`no-${event.target.value}`, !event.target.checked);
    document.querySelectorAll(`.toggle[value="${event.target.value}"]`).forEach((other) => { other.checked = event.target.checked; });
  });
  document.querySelectorAll("[data-step]").forEach((button) => button.addEventListener("click", () => step(Number(button.dataset.step))));
  document.querySelector("#close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
  });
  // Without the hash, the same point of a chart can be clicked again.
  viewer.addEventListener("close", () => { if (location.hash) history.replaceState(null, "", location.pathname + location.search); });
  window.addEventListener("hashchange", openNamed);
  filter();
  openNamed();
})();
