// Wide tables and code scroll sideways. A person without a mouse reaches them by the keyboard.
function makeReachable() {
  for (const part of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre, .md-typeset pre > code")) {
    if (part.scrollWidth > part.clientWidth) {
      part.tabIndex = 0;
    }
  }
}
makeReachable();
window.addEventListener("load", makeReachable);
window.addEventListener("resize", makeReachable);
// The theme wraps the tables when it shows them.
new MutationObserver(makeReachable).observe(document.body, { childList: true, subtree: true });
