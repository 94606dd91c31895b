// A reader of /openapi.json: contents, operations, parameters, answers, and a form to try each.

import { inline, make, prose, table } from "/docs/dom.js";
import { Schemas } from "/docs/schema.js";
import { Trial } from "/docs/try.js";

const main = document.getElementById("main");
const contents = document.getElementById("contents");
const status = document.getElementById("status");
const filter = document.getElementById("filter");
const tokenField = document.getElementById("token");

async function start() {
  const response = await fetch("/openapi.json", { credentials: "omit" });
  if (!response.ok) throw new Error(`The document could not be read (${response.status}).`);
  show(await response.json());
  openFromAddress();
}

function show(document_) {
  const schemas = new Schemas(document_);
  document.title = `${document_.info.title} API`;
  status.remove();
  main.append(make("div", { class: "intro" },
    make("h1", {}, `${document_.info.title} API`), ...prose(document_.info.description ?? "")));
  for (const tag of document_.tags) {
    const operations = operationsOf(document_, tag.name);
    if (!operations.length) continue;
    main.append(make("section", { "aria-labelledby": `tag-${tag.name}` },
      make("h2", { id: `tag-${tag.name}` }, tag.name),
      tag.description ? make("p", { class: "about" }, tag.description) : null,
      ...operations.map((one) => card(one, schemas))));
    contents.append(make("section", { "data-tag": tag.name },
      make("h2", {}, tag.name),
      make("ul", {}, ...operations.map((one) => make("li", { "data-words": words(one) },
        make("a", { href: `#${one.entry.operationId}` }, title(one.entry.operationId)))))));
  }
}

function operationsOf(document_, tag) {
  const found = [];
  for (const [path, methods] of Object.entries(document_.paths)) {
    for (const [method, entry] of Object.entries(methods)) {
      if (entry.tags.includes(tag)) found.push({ path, method, entry });
    }
  }
  return found.sort((one, other) => one.entry.operationId.localeCompare(other.entry.operationId));
}

function title(name) {
  return name.split(".").slice(1).join(" ") || name;
}

function words({ path, method, entry }) {
  return `${entry.operationId} ${entry.summary} ${method} ${path}`.toLowerCase();
}

// The inside of a card is made when it is first opened: fifty forms are slow to make at once.
function card(operation, schemas) {
  const { path, method, entry } = operation;
  const badges = [entry["x-covey-access"] ? make("span", { class: "badge" }, entry["x-covey-access"]) : null];
  if (entry["x-covey-effect"] === "destroy") badges.push(make("span", { class: "badge destroy" }, "destroys"));
  if (streams(entry)) badges.push(make("span", { class: "badge" }, "stream"));
  const element = make("details",
    { class: "operation", id: entry.operationId, "data-words": words(operation) },
    make("summary", {},
      make("span", { class: `method ${method}` }, method.toUpperCase()),
      make("span", { class: "path" }, path),
      make("span", { class: "badges" }, ...badges),
      make("span", { class: "what" }, ...inline(entry.summary))));
  element.addEventListener("toggle", () => {
    if (element.open && !element.querySelector(".inside")) element.append(inside(operation, schemas));
    if (element.open) history.replaceState(null, "", `#${entry.operationId}`);
    markCurrent();
  });
  return element;
}

function streams(entry) {
  return Boolean(entry.responses["200"]?.content?.["text/event-stream"]);
}

function inside({ path, method, entry }, schemas) {
  const parts = [...prose(entry.description ?? "")];
  const samples = entry["x-codeSamples"] ?? [];
  if (samples.length) {
    parts.push(make("h3", {}, "Command line"),
      make("pre", {}, make("code", {}, samples.map((one) => one.source).join("\n"))));
  }
  const parameters = (entry.parameters ?? []).map((one) => schemas.follow(one));
  if (parameters.length) {
    parts.push(make("h3", {}, "Parameters"), table(["Name", "In", "Type", "Meaning"],
      parameters.map((one) => [
        nameCell(one.name, one.required),
        make("td", {}, one.in),
        typeCell(one.schema, schemas),
        make("td", {}, ...inline(one.description ?? ""))])));
  }
  const body = entry.requestBody?.content["application/json"].schema;
  if (body) parts.push(make("h3", {}, "Body"), fieldTable(body, schemas, true));
  parts.push(...answers(entry, schemas));
  parts.push(new Trial(path, method, entry, schemas, () => tokenField.value.trim()).element());
  return make("div", { class: "inside" }, ...parts);
}

function nameCell(name, required) {
  const mark = required ? make("span", { class: "must", title: "required" }, " *",
    make("span", { class: "hidden" }, "required")) : null;
  return make("td", { class: "name-cell" }, name, mark);
}

function typeCell(schema, schemas) {
  const found = schemas.resolve(schema);
  const value = schema.default ?? found.default;
  const extra = [schemas.limits(schema),
    value === undefined || value === null ? "" : `default ${JSON.stringify(value)}`].filter(Boolean);
  return make("td", { class: "type" }, schemas.typeName(schema), extra.length ? `; ${extra.join("; ")}` : "");
}

// What is required is marked in a body; a result simply has its fields.
function fieldTable(schema, schemas, isBody, seen = new Set()) {
  const rows = [];
  const nested = [];
  for (const one of schemas.fields(schema)) {
    rows.push([nameCell(one.name, isBody && one.required), typeCell(one.schema, schemas),
      make("td", {}, ...inline(one.description))]);
    const found = schemas.resolve(one.schema);
    const inner = found.type === "array" ? schemas.resolve(found.items ?? {}) : found;
    if (inner.properties && inner.title && !seen.has(inner.title)) {
      nested.push(make("details", { class: "nested" }, make("summary", {}, inner.title),
        fieldTable(inner, schemas, isBody, new Set([...seen, inner.title]))));
    }
  }
  if (!rows.length) return make("p", { class: "type" }, schemas.typeName(schema));
  return make("div", {}, table(["Field", "Type", "Meaning"], rows), ...nested);
}

function answers(entry, schemas) {
  const good = schemas.follow(entry.responses["200"]);
  const [media] = Object.values(good.content ?? {});
  const [item] = media?.schema?.oneOf ?? [];
  const result = item?.properties?.data?.contentSchema ?? media?.schema;
  const parts = [make("h3", {}, streams(entry) ? "Each item of the stream" : "Result")];
  if (result) parts.push(make("p", { class: "type" }, schemas.typeName(result)));
  if (result && schemas.fields(result).length) parts.push(fieldTable(result, schemas, false));
  const errors = Object.entries(entry.responses).filter(([code]) => code !== "200" && code !== "default");
  if (errors.length) {
    const rows = errors.map(([code, one]) => [make("td", { class: "name-cell" }, code),
      make("td", {}, ...inline(schemas.follow(one).description))]);
    parts.push(make("details", { class: "others" }, make("summary", {}, `Other answers (${errors.length})`),
      table(["Status", "Meaning"], rows)));
  }
  return parts;
}

function markCurrent() {
  const current = location.hash.slice(1);
  for (const link of contents.querySelectorAll("a")) {
    if (link.hash.slice(1) === current) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

function openFromAddress() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView({ block: "start" });
    target.querySelector("summary").focus({ preventScroll: true });
  }
}

function narrow() {
  const wanted = filter.value.trim().toLowerCase().split(/\s+/);
  for (const item of document.querySelectorAll("[data-words]")) {
    item.hidden = !wanted.every((word) => item.dataset.words.includes(word));
  }
  document.querySelector(".intro").hidden = filter.value.trim() !== "";
  for (const section of document.querySelectorAll("main > section, #contents > section")) {
    section.hidden = !section.querySelector("[data-words]:not([hidden])");
  }
}

filter.addEventListener("input", narrow);
window.addEventListener("hashchange", openFromAddress);
document.getElementById("token-form").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, textarea, select")) {
    event.preventDefault();
    filter.focus();
  }
});
start().catch((error) => {
  status.textContent = `${error.message} Reload the page to try again.`;
  status.classList.add("failed");
});
