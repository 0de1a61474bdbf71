// The list of what can be requested, from the OpenAPI schema. What comes from it is set as text.
"use strict";

function element(tag, text, ...children) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

const methods = ["get", "post", "put", "delete"];

function described(value, schemas) {
  const schema = value.$ref ? schemas[value.$ref.split("/").pop()] || {} : value;
  if (schema.description) return schema.description;
  const range = schema.minimum === undefined ? "" : `, ${schema.minimum} to ${schema.maximum}`;
  return `${schema.type || "anything"}${range}`;
}

async function draw() {
  const main = document.getElementById("paths");
  let schema;
  try {
    schema = await (await fetch("/openapi.json")).json();
  } catch {
    main.replaceChildren(element("p", "The service does not answer: start it again, then reload this page."));
    return;
  }
  const schemas = (schema.components || {}).schemas || {};
  const parts = [];
  for (const [path, operations] of Object.entries(schema.paths)) {
    for (const method of methods.filter((name) => name in operations)) {
      const operation = operations[method];
      parts.push(element("h2", `${method.toUpperCase()} ${path}`));
      if (operation.description) parts.push(element("p", operation.description));
      const content = ((operation.requestBody || {}).content || {})["application/json"];
      const fields = Object.entries((content && content.schema.properties) || {});
      if (!fields.length) continue;
      const list = element("ul");
      for (const [name, value] of fields) list.append(element("li", "", element("code", name), `: ${described(value, schemas)}`));
      parts.push(element("p", "Body in JSON (Content-Type: application/json):"), list);
      const inputs = (content.schema.oneOf || []).map((one) => one.required.join(" and "));
      if (inputs.length) parts.push(element("p", `One of ${inputs.join(", ")}.`));
    }
  }
  main.replaceChildren(...parts);
}

draw();
