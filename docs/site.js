// What the theme leaves to be desired for those who use a keyboard or a screen reader.
const mend = () => {
  document.querySelector('[data-md-component="search"]')?.setAttribute("aria-label", "Search");
  // What scrolls can be scrolled by keyboard.
  for (const box of document.querySelectorAll("pre > code, .md-typeset__scrollwrap")) box.tabIndex = 0;
  document.querySelectorAll(".md-code__nav").forEach((nav, place) => (nav.ariaLabel = `Code ${place + 1}`));
  // A corner of a table is no heading of anything.
  for (const corner of document.querySelectorAll("th:empty")) corner.replaceWith(document.createElement("td"));
};
mend();
new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
