// Elements of the page.

export function make(tag, className, properties = {}, children = []) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// An element that holds a text.
export function says(tag, className, textContent, properties = {}) {
  return make(tag, className, { textContent, ...properties });
}

export function button(name, textContent, onclick, properties = {}) {
  return make("button", `sepviz-${name}`, { type: "button", textContent, onclick, ...properties });
}

// A choice among pairs [value, text].
export function select(name, label, options, onchange = () => {}) {
  const nodes = options.map(([value, text]) => says("option", "", text, { value }));
  return make("select", `sepviz-${name}`, { "aria-label": label, onchange }, nodes);
}

const ICONS = {
  first: "M3 3h2v10H3zM13 3v10L6 8z",
  back: "M10.6 2.6 12 4 8 8l4 4-1.4 1.4L5.2 8z",
  play: "M4 2.5v11L13.5 8z",
  pause: "M4 3h3v10H4zM9 3h3v10H9z",
  forward: "M5.4 2.6 4 4l4 4-4 4 1.4 1.4L10.8 8z",
  last: "M11 3h2v10h-2zM3 3v10l7-5z",
};

export function icon(node, name) {
  node.innerHTML = `<svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">`
    + `<path d="${ICONS[name]}" fill="currentColor"/></svg>`;
}

export function pictureButton(name, picture, label, onclick) {
  const node = button(name, "", onclick, { title: label, "aria-label": label });
  icon(node, picture);
  return node;
}
