// What the server of this folder offers: the tools, prompts and resources that the suite's scenarios name.
//
// Each is written once for both eras. A tool is handed its arguments and a `call`, and what it wants of the client it
// asks with `call.ask`: in an era of sessions that sends requests and waits for their answers; in the era without
// them the tool is left, and run again from its beginning when the client comes back with what was asked. So a tool
// does nothing before its last question that may not be done twice.

import { Fault } from "./eras.mjs";

// One pixel, and a WAV header without samples.
const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";

const text = (text) => ({ type: "text", text });
const image = { type: "image", data: PNG, mimeType: "image/png" };
const embedded = (uri, mimeType, text) => ({ type: "resource", resource: { uri, mimeType, text } });
const object = (properties = {}, required = []) => ({ type: "object", properties, required });
const string = (description) => (description ? { type: "string", description } : { type: "string" });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// ── questions to the client, and what is said of their answers ──────────────────────────────────────

const form = (message, properties, required = Object.keys(properties)) => ({
  method: "elicitation/create",
  params: { message, requestedSchema: object(properties, required) },
});
const sample = (prompt, maxTokens = 100) => ({
  method: "sampling/createMessage",
  params: { messages: [{ role: "user", content: text(prompt) }], maxTokens },
});
const roots = () => ({ method: "roots/list", params: {} });
const NAME = { name: string() };

const filled = (answer) => `action=${answer.action}, content=${JSON.stringify(answer.content ?? {})}`;
const sampled = (answer) => [answer.content].flat()[0]?.text ?? "(no text)";
const rooted = (answer) => answer.roots.map((root) => root.uri).join(", ");

// ── tools: name → [description, input schema, what it does] ─────────────────────────────────────────

const noisy = async (_, call) => {
  for (const data of ["Tool execution started", "Tool processing data", "Tool execution completed"]) {
    call.log("info", data);
    await pause(50);
  }
  return [text("said three things")];
};

const toggling = (kind) => (_, call) => {
  call.server.toggle(kind);
  return [text(`the list of ${kind}s has changed`)];
};

export const TOOLS = {
  test_simple_text: ["One text block", object(), () => [text("This is a simple text response for testing.")]],
  test_image_content: ["One image block", object(), () => [image]],
  test_audio_content: ["One audio block", object(), () => [{ type: "audio", data: WAV, mimeType: "audio/wav" }]],
  test_embedded_resource: [
    "One embedded resource",
    object(),
    () => [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")],
  ],
  test_multiple_content_types: [
    "Text, image and resource in one answer",
    object(),
    () => [
      text("Multiple content types test:"),
      image,
      embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ],
  ],
  test_tool_with_logging: ["Logs three times while it runs", object(), noisy],
  test_logging_tool: ["Logs three times, where somebody wants to hear it", object(), noisy],
  test_tool_with_progress: [
    "Reports progress three times while it runs",
    object(),
    async (_, call) => {
      for (const progress of [0, 50, 100]) {
        call.progress(progress, 100);
        await pause(50);
      }
      return [text("reported three times")];
    },
  ],
  test_error_handling: [
    "Ends in an error of its own",
    object(),
    () => {
      throw new Error("This tool intentionally returns an error for testing");
    },
  ],
  test_reconnection: [
    "Closes its stream before it answers, so that the client has to come back for the answer",
    object(),
    async (_, call) => {
      await pause(50);
      call.cut();
      await pause(100);
      return [text("answered after the stream was closed")];
    },
  ],
  test_sampling: [
    "Asks the client's model",
    object({ prompt: string("What to ask the model") }, ["prompt"]),
    async ({ prompt }, call) => [text(`LLM response: ${sampled((await call.ask({ model: sample(prompt) })).model)}`)],
  ],
  test_elicitation: [
    "Asks the user",
    object({ message: string("What to ask the user") }, ["message"]),
    async ({ message }, call) => {
      const fields = { username: string("User's response"), email: string("User's email address") };
      return [text(`User response: ${filled((await call.ask({ user: form(message, fields) })).user)}`)];
    },
  ],
  test_elicitation_sep1034_defaults: [
    "Asks the user, with a default for each type of field",
    object(),
    async (_, call) => {
      const fields = {
        name: { type: "string", default: "John Doe" },
        age: { type: "integer", default: 30 },
        score: { type: "number", default: 95.5 },
        status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
        verified: { type: "boolean", default: true },
      };
      const { user } = await call.ask({ user: form("Please review these defaults", fields, []) });
      return [text(`Elicitation completed: ${filled(user)}`)];
    },
  ],
  test_elicitation_sep1330_enums: [
    "Asks the user, with each form of choice",
    object(),
    async (_, call) => {
      const plain = ["option1", "option2", "option3"];
      const titled = ["First", "Second", "Third"].map((word, i) => ({ const: `value${i + 1}`, title: `${word} Option` }));
      const fields = {
        untitledSingle: { type: "string", enum: plain },
        titledSingle: { type: "string", oneOf: titled },
        legacyEnum: { type: "string", enum: ["opt1", "opt2", "opt3"], enumNames: ["Option One", "Option Two", "Option Three"] },
        untitledMulti: { type: "array", items: { type: "string", enum: plain } },
        titledMulti: { type: "array", items: { anyOf: titled } },
      };
      const { user } = await call.ask({ user: form("Please choose", fields, []) });
      return [text(`Elicitation completed: ${filled(user)}`)];
    },
  ],
  test_streaming_elicitation: [
    "Reports progress, then asks the user",
    object(),
    async (_, call) => {
      call.progress(1, 2);
      return [text(filled((await call.ask({ user: form("Go on?", { ok: { type: "boolean" } }) })).user))];
    },
  ],
  // In an era of sessions it asks whatever the client said that it can do, as published servers do: what is then
  // answered is for whoever stands between.
  test_missing_capability: [
    "Needs the client's model",
    object(),
    async (_, call) => [text(sampled((await call.ask({ model: sample("Are you there?", 5) })).model))],
  ],
  test_input_required_result_elicitation: [
    "Asks for a name",
    object(),
    async (_, call) => {
      const { user_name } = await call.ask({ user_name: form("What is your name?", NAME) });
      return [text(`Hello, ${user_name.content?.name ?? "stranger"}!`)];
    },
  ],
  test_input_required_result_sampling: [
    "Asks the client's model for a capital",
    object(),
    async (_, call) => {
      const { capital_question } = await call.ask({ capital_question: sample("What is the capital of France?") });
      return [text(sampled(capital_question))];
    },
  ],
  test_input_required_result_list_roots: [
    "Asks for the client's roots",
    object(),
    async (_, call) => [text(rooted((await call.ask({ client_roots: roots() })).client_roots))],
  ],
  test_input_required_result_request_state: [
    "Asks the user, and wants its state back",
    object(),
    async (_, call) => {
      const { confirm } = await call.ask({ confirm: form("Please confirm", { ok: { type: "boolean" } }) }, "sealed");
      return [text(`state-ok ${filled(confirm)}`)];
    },
  ],
  test_input_required_result_multiple_inputs: [
    "Asks for three things at once",
    object(),
    async (_, call) => {
      const given = await call.ask(
        { user_name: form("What is your name?", NAME), greeting: sample("Generate a greeting", 50), client_roots: roots() },
        "sealed",
      );
      return [text(`${sampled(given.greeting)} | ${filled(given.user_name)} | ${rooted(given.client_roots)}`)];
    },
  ],
  test_input_required_result_multi_round: [
    "Asks one thing after the other",
    object(),
    async (_, call) => {
      const { step1 } = await call.ask({ step1: form("Step 1: What is your name?", NAME) }, "sealed");
      const { step2 } = await call.ask({ step2: form("Step 2: What is your favorite color?", { color: string() }) }, "sealed");
      return [text(`${filled(step1)} | ${filled(step2)}`)];
    },
  ],
  test_input_required_result_tampered_state: [
    "Asks the user, and knows its own state from another's",
    object(),
    async (_, call) => {
      const { confirm } = await call.ask({ confirm: form("Please confirm", { ok: { type: "boolean" } }) }, "sealed");
      return [text(filled(confirm))];
    },
  ],
  test_input_required_result_capabilities: [
    "Asks for whatever the client can do",
    object(),
    async (_, call) => {
      const able = { elicitation: form("What is your name?", NAME), sampling: sample("Say hello", 20), roots: roots() };
      const asked = Object.fromEntries(Object.entries(able).filter(([capability]) => capability in call.capabilities));
      const given = Object.keys(asked).length ? await call.ask(asked) : {};
      return [text(`asked for: ${Object.keys(given).join(", ")}`)];
    },
  ],
  test_trigger_tool_change: ["Changes the list of tools", object(), toggling("tool")],
  test_trigger_prompt_change: ["Changes the list of prompts", object(), toggling("prompt")],
  // Members that a typed implementation does not know must reach the client as they are.
  json_schema_2020_12_tool: [
    "A schema with the vocabulary of JSON Schema 2020-12",
    {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      type: "object",
      $defs: { address: { $anchor: "addressDef", type: "object", properties: { street: string(), city: string() } } },
      properties: {
        name: string(),
        address: { $ref: "#/$defs/address" },
        contactMethod: { type: "string", enum: ["phone", "email"] },
        phone: string(),
        email: string(),
      },
      allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
      if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
      then: { required: ["phone"] },
      else: { required: ["email"] },
      additionalProperties: false,
    },
    (given) => [text(JSON.stringify(given))],
  ],
};

// ── resources ───────────────────────────────────────────────────────────────────────────────────────

const RESOURCES = [
  {
    uri: "test://static-text",
    name: "static-text",
    mimeType: "text/plain",
    body: { text: "This is the content of the static text resource." },
  },
  { uri: "test://static-binary", name: "static-binary", mimeType: "image/png", body: { blob: PNG } },
  { uri: "test://watched-resource", name: "watched-resource", mimeType: "text/plain", body: { text: "Watched resource content" } },
];

export const RESOURCES_SHOWN = RESOURCES.map(({ body, ...shown }) => shown);
export const TEMPLATE = { uriTemplate: "test://template/{id}/data", name: "template", mimeType: "application/json" };

/** What is found at `uri`, or `undefined`. */
export function resource(uri) {
  const known = RESOURCES.find((resource) => resource.uri === uri);
  if (known) return { uri, mimeType: known.mimeType, ...known.body };
  const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
  if (id === undefined) return undefined;
  const body = JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` });
  return { uri, mimeType: TEMPLATE.mimeType, text: body };
}

// ── prompts: name → [arguments, what they say] ──────────────────────────────────────────────────────

const argument = (name, description) => ({ name, description, required: true });
const user = (...contents) => contents.map((content) => ({ role: "user", content }));

export const PROMPTS = {
  test_simple_prompt: [[], () => user(text("This is a simple prompt for testing."))],
  test_prompt_with_arguments: [
    [argument("arg1", "First test argument"), argument("arg2", "Second test argument")],
    ({ arg1, arg2 }) => user(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)),
  ],
  test_prompt_with_embedded_resource: [
    [argument("resourceUri", "URI of the resource to embed")],
    ({ resourceUri }) =>
      user(embedded(resourceUri, "text/plain", "Embedded resource content for testing."), text("Please process the embedded resource above.")),
  ],
  test_prompt_with_image: [[], () => user(image, text("Please analyze the image above."))],
  test_input_required_result_prompt: [
    [],
    async (_, call) => {
      const { user_context } = await call.ask({ user_context: form("What context should the prompt use?", { context: string() }) });
      return user(text(`Context: ${filled(user_context)}`));
    },
  ],
};

/** The words that begin as `argument` does. */
export function completion(argument) {
  if (typeof argument?.value !== "string") throw new Fault(-32602, "argument.value is not a string");
  const values = ["alpha", "beta", "gamma"].filter((word) => word.startsWith(argument.value));
  return { values, total: values.length, hasMore: false };
}
