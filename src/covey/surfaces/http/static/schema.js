// What a JSON Schema says, for people: its type in words, its fields, an example.

export class Schemas {
  constructor(document) {
    this.components = document.components;
  }

  follow(item) {
    if (!item || !item.$ref) return item ?? {};
    const [, , kind, name] = item.$ref.split("/");
    return this.components[kind][name];
  }

  // The schema behind references, without a null alternative.
  resolve(schema) {
    const found = this.follow(schema);
    const choices = (found.anyOf ?? []).filter((one) => one.type !== "null");
    if (choices.length !== 1) return found;
    return { ...found, ...this.resolve(choices[0]), description: found.description ?? choices[0].description };
  }

  isNullable(schema) {
    return (this.follow(schema).anyOf ?? []).some((one) => one.type === "null");
  }

  typeName(schema) {
    const found = this.resolve(schema);
    const suffix = this.isNullable(schema) ? " or null" : "";
    if (found.enum) return found.enum.filter((one) => one !== null).map((one) => JSON.stringify(one)).join(" | ");
    if (found.const !== undefined) return JSON.stringify(found.const);
    if (found.type === "array") return `list of ${this.typeName(found.items ?? {})}${suffix}`;
    if (found.type === "object" && found.properties) return `${found.title ?? "object"}${suffix}`;
    if (found.type === "object") {
      const others = found.additionalProperties;
      return `object${typeof others === "object" ? ` of ${this.typeName(others)}` : ""}${suffix}`;
    }
    if (found.anyOf) return found.anyOf.map((one) => (one.type === "null" ? "null" : this.typeName(one))).join(" | ");
    if (found.format === "password") return `secret${suffix}`;
    return `${found.type ?? "any"}${found.format ? ` (${found.format})` : ""}${suffix}`;
  }

  limits(schema) {
    const found = this.resolve(schema);
    const parts = [];
    if (found.minimum !== undefined) parts.push(`at least ${found.minimum}`);
    if (found.exclusiveMinimum !== undefined) parts.push(`more than ${found.exclusiveMinimum}`);
    if (found.maximum !== undefined) parts.push(`at most ${found.maximum}`);
    if (found.maxLength !== undefined) parts.push(`at most ${found.maxLength} characters`);
    if (found.maxItems !== undefined) parts.push(`at most ${found.maxItems} items`);
    return parts.join(", ");
  }

  // The fields of a record, or of the records that a list or a page holds.
  fields(schema) {
    const found = this.resolve(schema);
    if (found.type === "array") return this.fields(found.items ?? {});
    if (!found.properties) return [];
    const required = new Set(found.required ?? []);
    return Object.entries(found.properties).map(([name, item]) => ({
      name,
      schema: item,
      required: required.has(name),
      description: item.description ?? this.resolve(item).description ?? "",
    }));
  }

  example(schema, depth = 0) {
    const found = this.resolve(schema);
    if (schema.default !== undefined) return schema.default;
    if (found.default !== undefined) return found.default;
    if (found.enum) return found.enum.find((one) => one !== null);
    if (this.isNullable(schema)) return null;
    switch (found.type) {
      case "string": return "";
      case "integer": case "number": return found.minimum ?? 0;
      case "boolean": return false;
      case "array": return [];
      case "object": {
        if (depth > 4) return {};
        const fields = this.fields(found).filter((one) => one.required);
        return Object.fromEntries(fields.map((one) => [one.name, this.example(one.schema, depth + 1)]));
      }
      default: return null;
    }
  }
}
