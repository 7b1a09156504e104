// For the keyboard and for screen readers: what scrolls sideways can be reached, and each copy button has a name of its own.
const complete = () => {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset__table, pre, pre > code")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
  document.querySelectorAll(".md-code__nav").forEach((bar, number) => bar.setAttribute("aria-label", `Code ${number + 1}`));
};
document.addEventListener("DOMContentLoaded", () => {
  complete();
  new MutationObserver(complete).observe(document.body, { childList: true, subtree: true });
});
