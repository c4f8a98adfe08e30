// The client of the suite's client scenarios: the official TypeScript SDK (2.x), which passes them all by itself.
//
//   node client.mjs TARGET ERA
//
// TARGET is JSON, a `url` or a `command` with `args`; ERA is how versions are negotiated: `legacy`, `auto` or `modern`.
// It uses everything that is listed, whatever the scenario, and ends with 1 when something that must work does not.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const [target, era] = [JSON.parse(process.argv[2]), process.argv[3]];
const scenario = process.env.MCP_CONFORMANCE_SCENARIO;
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? "{}");
const mode = era === "modern" ? { pin: "2026-07-28" } : era;

/** A value that a schema of these few kinds accepts: its default where it has one. */
const sample = (schema) => {
  if (schema.default !== undefined) return schema.default;
  if (schema.type === "object") {
    return Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, inner]) => [name, sample(inner)]));
  }
  return { number: 2, integer: 2, boolean: true, array: [], null: null }[schema.type] ?? schema.enum?.[0] ?? "some text";
};

/** The calls to make of the tools that are listed. */
const calls = (tools) => {
  if (context.toolCalls) return context.toolCalls;
  // A schema that points elsewhere is there to be listed, and what it points at not to be fetched.
  if (scenario === "json-schema-ref-no-deref") return [];
  if (scenario === "json-schema-2020-12-preservation") {
    const [[focal], [echo]] = [tools.filter((tool) => tool.inputSchema.$defs), tools.filter((tool) => !tool.inputSchema.$defs)];
    return [{ name: echo.name, arguments: { schema: focal.inputSchema } }];
  }
  return tools.map(({ name, inputSchema }) => ({ name, arguments: sample(inputSchema) }));
};

const client = new Client(
  { name: "conformance-client", version: "1.0.0" },
  { capabilities: { elicitation: {}, sampling: {}, roots: {} }, versionNegotiation: { mode } },
);
client.setRequestHandler("elicitation/create", ({ params }) => ({ action: "accept", content: sample(params.requestedSchema) }));
client.setRequestHandler("sampling/createMessage", () => ({
  role: "assistant",
  content: { type: "text", text: "an answer" },
  model: "none",
}));
client.setRequestHandler("roots/list", () => ({ roots: [{ uri: "file:///somewhere" }] }));

const transport = target.url
  ? new StreamableHTTPClientTransport(new URL(target.url))
  : new StdioClientTransport({ ...target, env: process.env });
await client.connect(transport);
const able = client.getServerCapabilities() ?? {};
console.log(`connected: ${client.getNegotiatedProtocolVersion()}, ${JSON.stringify(able)}`);

if (able.tools) {
  const { tools } = await client.listTools();
  console.log(`tools: ${tools.map((tool) => tool.name).join(", ")}`);
  // All at once, so that what belongs to one call cannot have ended when the next is sent.
  const answers = await Promise.allSettled(calls(tools).map((call) => client.callTool(call)));
  for (const [i, { reason, value }] of answers.entries()) {
    const { name } = calls(tools)[i];
    console.log(`${name}: ${reason ?? JSON.stringify(value)}`);
    // Asked directly, this client does not take a modern answer that does not say of which type it is.
    if ((reason || value.isError) && name !== "test_mrtr_no_result_type") process.exitCode = 1;
  }
}
if (able.resources) {
  const { resources } = await client.listResources();
  for (const { uri } of resources) await client.readResource({ uri });
  console.log(`resources: ${resources.map((resource) => resource.uri).join(", ")}`);
}
if (able.prompts) {
  const { prompts } = await client.listPrompts();
  for (const { name } of prompts) await client.getPrompt({ name });
  console.log(`prompts: ${prompts.map((prompt) => prompt.name).join(", ")}`);
}
await client.close();
