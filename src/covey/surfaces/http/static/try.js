// Trying an operation: a form from its parameters, the request, and the answer as it comes.

import { make } from "/docs/dom.js";

const SECRET = "$COVEY_TOKEN";

export class Trial {
  constructor(path, method, entry, schemas, token) {
    Object.assign(this, { path, method, entry, schemas, token });
    this.inputs = [];
    this.body = null;
    this.stop = null;
    this.answer = make("div", { class: "answer", role: "status", "aria-live": "polite" });
    this.sendButton = make("button", { type: "submit" }, "Send");
    this.stopButton = make("button", { type: "button", class: "plain", hidden: true,
      onclick: () => this.stop?.abort() }, "Stop");
    this.line = make("code", {});
  }

  element() {
    const fields = this.parameters().map((one) => this.field(one));
    if (this.entry.requestBody) fields.push(this.bodyField());
    const form = make("form", { onsubmit: (event) => this.submit(event), oninput: () => this.showLine() },
      ...fields,
      make("div", { class: "actions" }, this.sendButton, this.stopButton),
      make("pre", { "aria-label": "The same request with curl" }, this.line),
      this.answer);
    this.showLine();
    return make("details", { class: "try" }, make("summary", {}, "Try it"), form);
  }

  parameters() {
    return (this.entry.parameters ?? []).map((one) => this.schemas.follow(one));
  }

  field(parameter) {
    const schema = this.schemas.resolve(parameter.schema);
    const id = `${this.entry.operationId}-${parameter.name}`;
    const input = this.input(id, parameter, schema);
    this.inputs.push({ parameter, schema, input });
    return make("div", { class: "field" },
      make("label", { for: id }, make("code", {}, parameter.name), parameter.required ? " *" : ""),
      input);
  }

  input(id, parameter, schema) {
    const options = schema.type === "boolean" ? ["true", "false"] : schema.enum;
    const common = { id, required: parameter.required, autocomplete: "off" };
    if (options) {
      const fallback = schema.default === undefined ? "" : `default: ${schema.default}`;
      const choices = options.map((one) => make("option", { value: String(one) }, String(one)));
      return make("select", common, make("option", { value: "" }, fallback), ...choices);
    }
    const placeholder = schema.type === "array" ? "one in each line"
      : schema.default === undefined ? this.schemas.typeName(parameter.schema) : `default: ${schema.default}`;
    if (schema.type === "array") return make("textarea", { ...common, placeholder, rows: 2 });
    return make("input", { ...common, placeholder, spellcheck: "false",
      inputmode: ["integer", "number"].includes(schema.type) ? "decimal" : undefined });
  }

  bodyField() {
    const schema = this.entry.requestBody.content["application/json"].schema;
    const id = `${this.entry.operationId}-body`;
    this.body = make("textarea", { id, spellcheck: "false", autocomplete: "off" });
    this.body.value = JSON.stringify(this.schemas.example(schema), null, 2);
    return make("div", { class: "field wide" }, make("label", { for: id }, "Body (JSON)"), this.body);
  }

  // `blank` gives what stands for a part of the path that is not filled in yet.
  request(blank = () => "") {
    let path = this.path;
    const query = new URLSearchParams();
    const headers = {};
    for (const { parameter, schema, input } of this.inputs) {
      const value = input.value;
      if (parameter.in === "path") {
        const part = value === "" ? blank(parameter.name) : encodeURIComponent(value);
        path = path.replace(`{${parameter.name}}`, () => part);
      } else if (value === "") continue;
      else if (parameter.in === "header") headers[parameter.name] = value;
      else if (schema.type === "array") {
        for (const line of value.split("\n")) if (line) query.append(parameter.name, line);
      } else query.append(parameter.name, value);
    }
    const url = query.size ? `${path}?${query}` : path;
    const body = this.body?.value.trim() || undefined;
    if (body) headers["Content-Type"] = "application/json";
    return { url, headers, body };
  }

  showLine() {
    const { url, headers, body } = this.request((name) => `{${name}}`);
    const verb = this.method === "get" ? "" : `-X ${this.method.toUpperCase()} `;
    const parts = [`curl ${verb}--cacert fleet.pem ${quoted(`${location.origin}${url}`)}`];
    if (this.needsToken()) parts.push(`-H "Authorization: Bearer ${SECRET}"`);
    for (const [name, value] of Object.entries(headers)) parts.push(`-H ${quoted(`${name}: ${value}`)}`);
    if (body) parts.push(`-d ${quoted(body)}`);
    this.line.textContent = parts.join(" \\\n  ");
  }

  needsToken() {
    return (this.entry.security ?? [{}]).length > 0;
  }

  async submit(event) {
    event.preventDefault();
    if (this.entry["x-covey-effect"] === "destroy"
      && !window.confirm(`${this.entry.operationId} cannot be undone. Send it?`)) return;
    const { url, headers, body } = this.request();
    if (this.needsToken() && this.token()) headers.Authorization = `Bearer ${this.token()}`;
    this.stop = new AbortController();
    this.sendButton.disabled = true;
    this.stopButton.hidden = false;
    this.answer.replaceChildren("Sending…");
    const began = performance.now();
    try {
      const response = await fetch(url, { method: this.method.toUpperCase(), headers, body,
        signal: this.stop.signal, credentials: "omit", redirect: "error", cache: "no-store" });
      await this.show(response, Math.round(performance.now() - began));
    } catch (error) {
      if (error.name === "AbortError") this.answer.append(make("p", {}, "Stopped."));
      else this.answer.replaceChildren(make("p", { class: "bad" }, "The node did not answer."));
    } finally {
      this.sendButton.disabled = false;
      this.stopButton.hidden = true;
    }
  }

  async show(response, milliseconds) {
    const outcome = make("span", { class: `outcome ${response.ok ? "good" : "bad"}` },
      `${response.status} ${response.statusText}`);
    const facts = [`${milliseconds} ms`];
    for (const name of ["ETag", "Retry-After", "X-Request-Id"]) {
      if (response.headers.has(name)) facts.push(`${name}: ${response.headers.get(name)}`);
    }
    const shown = make("code", {});
    this.answer.replaceChildren(make("p", {}, outcome, ` · ${facts.join(" · ")}`), make("pre", {}, shown));
    if ((response.headers.get("Content-Type") ?? "").startsWith("text/event-stream")) {
      for await (const text of pieces(response.body)) shown.textContent += text;
      return;
    }
    shown.textContent = pretty(await response.text());
  }
}

async function* pieces(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    yield value;
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
