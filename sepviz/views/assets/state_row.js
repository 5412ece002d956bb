// One line of text to copy: {node, show(text)}; hidden while there is none.

import { button, make, says } from "./dom.js";

export function stateRow(label) {
  const field = make("input", "", { type: "text", readOnly: true, "aria-label": label,
    onfocus: () => field.select() });
  const copy = button("copy", "Copy", async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      document.execCommand("copy"); // no permission: the old way
    }
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  }, { title: `Copy: ${label}` });
  const about = says("span", "", "");
  const node = make("div", "sepviz-text", { hidden: true }, [about, field, copy]);
  const show = (text, what = "state") => {
    node.hidden = !text;
    about.textContent = what;
    if (field.value !== text) field.value = text;
  };
  return { node, show };
}
