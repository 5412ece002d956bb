// Keys that are pressed in a widget stay in it. JupyterLab listens on the document and looks from the focused element upwards, so an
// attribute on the widget's root (data-lm-suppress-shortcuts) does not reach it; letters would edit cells and arrows leave the cell.
// What belongs to the page goes on: chords (Ctrl+S), Tab, Escape, Shift+Enter and the function keys.
function shield(root) {
  root.addEventListener("keydown", (event) => {
    const chord = event.ctrlKey || event.altKey || event.metaKey || (event.shiftKey && event.key === "Enter");
    if (!chord && !/^(Tab|Escape|F\d+)$/.test(event.key)) event.stopPropagation();
  });
  return root;
}
