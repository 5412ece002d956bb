// Keys that are pressed in a widget stay in it: letters would edit cells, arrows go to another one.
// JupyterLab listens on the document and looks from the focused element upwards: its shortcuts
// match there, before it comes to an attribute of the widget's root (data-lm-suppress-shortcuts).
// What belongs to the page goes on: chords (Ctrl+S), Tab, Escape, Shift+Enter, the function keys.
function shield(root) {
  root.addEventListener("keydown", (event) => {
    const { key, ctrlKey, altKey, metaKey, shiftKey } = event;
    const chord = ctrlKey || altKey || metaKey || (shiftKey && key === "Enter");
    if (!chord && !/^(Tab|Escape|F\d+)$/.test(key)) event.stopPropagation();
  });
  return root;
}
