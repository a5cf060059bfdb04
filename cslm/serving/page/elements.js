// Making elements. Text is only ever text: nothing that a model or a file says becomes markup.

/** An element with a class, attributes and children (elements or text). */
export function element(tag, { className = "", ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

export function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function seconds(ms, digits = 2) {
  return `${(ms / 1000).toFixed(digits)} s`;
}

const names = new Intl.DisplayNames(["en"], { type: "language" });

export function languageName(tag) {
  try {
    return names.of(tag);
  } catch {
    return tag;
  }
}
