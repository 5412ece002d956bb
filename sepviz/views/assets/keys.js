// Keys of the widgets.

export const MOVES = {
  ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
}; // [rows, columns]

// Keys that are pressed with another are the browser's or the notebook's.
export function isChord({ ctrlKey, altKey, metaKey }) {
  return ctrlKey || altKey || metaKey;
}

// Keys that are pressed in a widget stay in it: letters would edit cells, arrows go to another one.
// JupyterLab listens on the document and looks from the focused element upwards: its shortcuts
// match there, before it comes to an attribute of the widget's root (data-lm-suppress-shortcuts).
// What belongs to the page goes on: chords (Ctrl+S), Tab, Escape, Shift+Enter, the function keys.
export function shield(root) {
  root.addEventListener("keydown", (event) => {
    const chord = isChord(event) || (event.shiftKey && event.key === "Enter");
    if (!chord && !/^(Tab|Escape|F\d+)$/.test(event.key)) event.stopPropagation();
  });
  return root;
}
