// Wide tables and code scroll sideways. A person without a mouse reaches them by the keyboard.
for (const part of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code, .md-typeset .highlight pre")) {
  if (part.scrollWidth > part.clientWidth) {
    part.tabIndex = 0;
  }
}
