// The server that stands behind switchbox while the conformance suite runs: what the suite's scenarios of
// revision 2025-11-25 ask for, on top of the official TypeScript SDK (1.x).
//
//   node upstream.mjs                 on stdio
//   node upstream.mjs --http PORT     on http://127.0.0.1:PORT/mcp (0: the kernel picks), prints the URL
//
// It promises to score full marks when the suite asks it directly, so that whatever is missing through the
// gateway is the gateway's doing. It keeps no state between sessions.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import * as types from "@modelcontextprotocol/sdk/types.js";

// One pixel, and a WAV header without samples.
const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";

const text = (text) => ({ type: "text", text });
const image = { type: "image", data: PNG, mimeType: "image/png" };
const embedded = (uri, mimeType, text) => ({ type: "resource", resource: { uri, mimeType, text } });
const object = (properties = {}, required = []) => ({ type: "object", properties, required });
const string = (description) => ({ type: "string", description });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// ── tools: name → [description, input schema, what it does] ─────────────────────────────────────────

const TOOLS = {
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
  test_tool_with_logging: [
    "Logs three times while it runs",
    object(),
    async (_, { notify }) => {
      for (const data of ["Tool execution started", "Tool processing data", "Tool execution completed"]) {
        await notify("notifications/message", { level: "info", logger: "upstream", data });
        await pause(50);
      }
      return [text("logged three times")];
    },
  ],
  test_tool_with_progress: [
    "Reports progress three times while it runs",
    object(),
    async (_, { notify, progressToken }) => {
      for (const progress of [0, 50, 100]) {
        if (progressToken !== undefined) {
          await notify("notifications/progress", { progressToken, progress, total: 100 });
        }
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
    async (_, { extra }) => {
      await pause(50);
      extra.closeSSEStream?.();
      await pause(100);
      return [text("answered after the stream was closed")];
    },
  ],
  test_sampling: [
    "Asks the client's model",
    object({ prompt: string("What to ask the model") }, ["prompt"]),
    async ({ prompt }, { ask }) => {
      const messages = [{ role: "user", content: text(prompt) }];
      const answer = await ask("sampling/createMessage", { messages, maxTokens: 100 }, types.CreateMessageResultSchema);
      return [text(`LLM response: ${answer.content.text ?? "(no text)"}`)];
    },
  ],
  test_elicitation: [
    "Asks the user",
    object({ message: string("What to ask the user") }, ["message"]),
    ({ message }, { form }) =>
      form("User response", message, {
        username: string("User's response"),
        email: string("User's email address"),
      }),
  ],
  test_elicitation_sep1034_defaults: [
    "Asks the user, with a default for each type of field",
    object(),
    (_, { form }) =>
      form("Elicitation completed", "Please review these defaults", {
        name: { type: "string", default: "John Doe" },
        age: { type: "integer", default: 30 },
        score: { type: "number", default: 95.5 },
        status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
        verified: { type: "boolean", default: true },
      }),
  ],
  test_elicitation_sep1330_enums: [
    "Asks the user, with each form of choice",
    object(),
    (_, { form }) => {
      const plain = ["option1", "option2", "option3"];
      const titled = ["First", "Second", "Third"].map((word, i) => ({ const: `value${i + 1}`, title: `${word} Option` }));
      return form("Elicitation completed", "Please choose", {
        untitledSingle: { type: "string", enum: plain },
        titledSingle: { type: "string", oneOf: titled },
        legacyEnum: { type: "string", enum: ["opt1", "opt2", "opt3"], enumNames: ["Option One", "Option Two", "Option Three"] },
        untitledMulti: { type: "array", items: { type: "string", enum: plain } },
        titledMulti: { type: "array", items: { anyOf: titled } },
      });
    },
  ],
  // Members that the SDK's own types do not know must reach the client as they are.
  json_schema_2020_12_tool: [
    "A schema with the vocabulary of JSON Schema 2020-12",
    {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      type: "object",
      $defs: { address: { $anchor: "addressDef", type: "object", properties: { street: { type: "string" }, city: { type: "string" } } } },
      properties: {
        name: { type: "string" },
        address: { $ref: "#/$defs/address" },
        contactMethod: { type: "string", enum: ["phone", "email"] },
        phone: { type: "string" },
        email: { type: "string" },
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

// ── resources and prompts ───────────────────────────────────────────────────────────────────────────

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
const TEMPLATE = { uriTemplate: "test://template/{id}/data", name: "template", mimeType: "application/json" };

const argument = (name, description) => ({ name, description, required: true });
const user = (...contents) => contents.map((content) => ({ role: "user", content }));

const PROMPTS = {
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
};

// ── one server for each session ─────────────────────────────────────────────────────────────────────

function conversation() {
  const server = new Server(
    { name: "conformance-upstream", version: "1.0.0" },
    {
      capabilities: {
        tools: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        prompts: { listChanged: true },
        logging: {},
        completions: {},
      },
    },
  );
  const on = (schema, handler) => server.setRequestHandler(schema, handler);

  on(types.ListToolsRequestSchema, () => ({
    tools: Object.entries(TOOLS).map(([name, [description, inputSchema]]) => ({ name, description, inputSchema })),
  }));
  on(types.CallToolRequestSchema, async ({ params }, extra) => {
    const tool = TOOLS[params.name];
    if (!tool) throw new types.McpError(types.ErrorCode.InvalidParams, `no tool ${params.name}`);
    const ask = (method, params, schema) => extra.sendRequest({ method, params }, schema);
    const form = async (prefix, message, properties) => {
      const requestedSchema = { type: "object", properties, required: [] };
      const answer = await ask("elicitation/create", { message, requestedSchema }, types.ElicitResultSchema);
      return [text(`${prefix}: action=${answer.action}, content=${JSON.stringify(answer.content ?? {})}`)];
    };
    const notify = (method, params) => extra.sendNotification({ method, params });
    try {
      const content = await tool[2](params.arguments ?? {}, {
        ask,
        form,
        notify,
        extra,
        progressToken: params._meta?.progressToken,
      });
      return { content };
    } catch (error) {
      return { content: [text(error.message)], isError: true };
    }
  });

  on(types.ListResourcesRequestSchema, () => ({ resources: RESOURCES.map(({ body, ...shown }) => shown) }));
  on(types.ListResourceTemplatesRequestSchema, () => ({ resourceTemplates: [TEMPLATE] }));
  on(types.ReadResourceRequestSchema, ({ params: { uri } }) => {
    const known = RESOURCES.find((resource) => resource.uri === uri);
    if (known) return { contents: [{ uri, mimeType: known.mimeType, ...known.body }] };
    const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
    if (id === undefined) throw new types.McpError(-32002, `no resource ${uri}`);
    const body = JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` });
    return { contents: [{ uri, mimeType: TEMPLATE.mimeType, text: body }] };
  });
  on(types.SubscribeRequestSchema, () => ({}));
  on(types.UnsubscribeRequestSchema, () => ({}));

  on(types.ListPromptsRequestSchema, () => ({
    prompts: Object.entries(PROMPTS).map(([name, [given]]) => ({ name, description: `The prompt ${name}`, arguments: given })),
  }));
  on(types.GetPromptRequestSchema, ({ params }) => {
    const prompt = PROMPTS[params.name];
    if (!prompt) throw new types.McpError(types.ErrorCode.InvalidParams, `no prompt ${params.name}`);
    return { messages: prompt[1](params.arguments ?? {}) };
  });

  on(types.CompleteRequestSchema, ({ params: { argument } }) => {
    const values = ["alpha", "beta", "gamma"].filter((word) => word.startsWith(argument.value));
    return { completion: { values, total: values.length, hasMore: false } };
  });
  on(types.SetLevelRequestSchema, () => ({}));
  return server;
}

// ── transports ──────────────────────────────────────────────────────────────────────────────────────

// Events of one session, so that a client that lost its stream gets the rest of it. Ids are `stream/n`.
class Events {
  #kept = [];

  async storeEvent(stream, message) {
    const id = `${stream}/${this.#kept.length}`;
    this.#kept.push({ id, stream, message });
    return id;
  }

  async getStreamIdForEventId(id) {
    return this.#kept.find((event) => event.id === id)?.stream;
  }

  async replayEventsAfter(last, { send }) {
    const at = this.#kept.findIndex((event) => event.id === last);
    const stream = this.#kept[at]?.stream;
    for (const event of this.#kept.slice(at + 1)) {
      // The priming event of a stream is stored as an empty message, which is not sent again.
      if (event.stream === stream && event.message.jsonrpc) await send(event.id, event.message);
    }
    return stream;
  }
}

const LOCAL = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;

function serveHttp(port) {
  const sessions = new Map();
  const listener = createServer(async (request, response) => {
    const origin = request.headers.origin && new URL(request.headers.origin).host;
    if (!LOCAL.test(request.headers.host ?? "") || (origin && !LOCAL.test(origin))) {
      return response.writeHead(403).end();
    }
    if (new URL(request.url, "http://localhost").pathname !== "/mcp") return response.writeHead(404).end();
    const id = request.headers["mcp-session-id"];
    let transport = sessions.get(id);
    if (!transport && id) return response.writeHead(404).end();
    if (!transport) {
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        eventStore: new Events(),
        retryInterval: 500,
        onsessioninitialized: (id) => sessions.set(id, transport),
        onsessionclosed: (id) => sessions.delete(id),
      });
      await conversation().connect(transport);
    }
    await transport.handleRequest(request, response);
  });
  listener.listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${listener.address().port}/mcp`));
}

const [flag, port] = process.argv.slice(2);
if (flag === "--http") serveHttp(Number(port));
else await conversation().connect(new StdioServerTransport());
