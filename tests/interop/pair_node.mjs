// One of the official TypeScript SDKs as a client of one server.
//
//   node pair_node.mjs BRIEF
//
// BRIEF is a JSON file: `sdk` (1 or 2), `mode` (`legacy`, `auto` or `modern`), `target` (`url`, or `command`, `args` and
// `env`), `root` (a URI), `asks` (`{name: {kind, params}}`). What was seen is printed as one JSON object; nothing of it
// is judged here.

import { readFileSync } from "node:fs";

process.on("uncaughtException", (error) => {
  // The last line is the reason, whole.
  console.error(`${error.stack}\n${String(error).replaceAll(/\s+/g, " ")}`);
  process.exit(1);
});
const brief = JSON.parse(readFileSync(process.argv[2], "utf8"));
const sdk = brief.sdk === 1 ? "@modelcontextprotocol/sdk/client" : "@modelcontextprotocol/client";
const load = (v1, v2) => import(brief.sdk === 1 ? `${sdk}/${v1}.js` : `${sdk}${v2}`);
const { Client } = await load("index", "");
const { StreamableHTTPClientTransport } = await load("streamableHttp", "");
const { StdioClientTransport } = await load("stdio", "/stdio");

const mode = brief.mode === "modern" ? { pin: "2026-07-28" } : brief.mode;
const capabilities = { roots: {}, sampling: {}, elicitation: {} };
const client = new Client({ name: "pair", version: "1.0.0" }, { capabilities, ...(brief.sdk === 2 && { versionNegotiation: { mode } }) });

const answers = {
  "elicitation/create": { action: "accept", content: { name: "Ada", check: true, integer: 7 } },
  "sampling/createMessage": { role: "assistant", content: { type: "text", text: "a sampled answer" }, model: "none" },
  "roots/list": { roots: [{ uri: brief.root, name: "space" }] },
};
const schemas = brief.sdk === 1 ? await import("@modelcontextprotocol/sdk/types.js") : {};
const schemaOf = {
  "elicitation/create": schemas.ElicitRequestSchema,
  "sampling/createMessage": schemas.CreateMessageRequestSchema,
  "roots/list": schemas.ListRootsRequestSchema,
};
for (const [method, answer] of Object.entries(answers)) client.setRequestHandler(schemaOf[method] ?? method, () => answer);

const { target } = brief;
await client.connect(
  target.url ? new StreamableHTTPClientTransport(new URL(target.url)) : new StdioClientTransport({ ...target, stderr: "ignore" }),
);
const seen = { version: client.getNegotiatedProtocolVersion?.() ?? null, tools: (await client.listTools()).tools, answers: {} };
const does = {
  call: (params) => client.callTool(params),
  prompt: (params) => client.getPrompt(params),
  read: (params) => client.readResource(params),
};
for (const [name, { kind, params }] of Object.entries(brief.asks)) {
  seen.answers[name] = await does[kind](params).catch((error) => ({ error: String(error) }));
}
await client.close();
console.log(JSON.stringify(seen));
