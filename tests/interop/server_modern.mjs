// A server on the official TypeScript SDK (2.x) that refuses every revision with sessions.
//
//   node server_modern.mjs [PORT]        on http://127.0.0.1:PORT/mcp, else on stdio
//
// What it offers is what `server_fastmcp.py` offers.

import { createServer } from "node:http";
import { toNodeHandler } from "@modelcontextprotocol/node";
import { McpServer, createMcpHandler, inputRequired } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import * as z from "zod/v4";

const text = (text) => ({ content: [{ type: "text", text }] });

/** A tool that asks one thing, and says what it was told. */
const asking = (question, tell) => (_, context) => {
  const answer = context.mcpReq.inputResponses?.asked;
  return answer ? text(tell(answer)) : inputRequired({ inputRequests: { asked: question } });
};

function offer() {
  const server = new McpServer({ name: "modern", version: "1.0.0" });
  const numbers = z.object({ a: z.int(), b: z.int() });
  server.registerTool(
    "add",
    { description: "The sum of two numbers", inputSchema: numbers, outputSchema: z.object({ result: z.int() }) },
    ({ a, b }) => ({ ...text(`${a + b}`), structuredContent: { result: a + b } }),
  );
  const nothing = z.object({});
  server.registerTool(
    "ask_user",
    { description: "Asks the user for a name", inputSchema: nothing },
    asking(
      inputRequired.elicit({ message: "Who are you?", requestedSchema: z.object({ name: z.string() }) }),
      (answer) => `${answer.action}: ${answer.content?.name}`,
    ),
  );
  server.registerTool(
    "ask_model",
    { description: "Asks the client's model", inputSchema: nothing },
    asking(
      inputRequired.createMessage({ messages: [{ role: "user", content: { type: "text", text: "Why?" } }], maxTokens: 20 }),
      (answer) => `the model says: ${[answer.content].flat()[0].text}`,
    ),
  );
  server.registerTool(
    "ask_roots",
    { description: "Asks for the client's roots", inputSchema: nothing },
    asking(inputRequired.listRoots(), (answer) => `roots: ${answer.roots.map((root) => root.uri).join(", ")}`),
  );
  server.registerPrompt("greeting", { description: "A greeting", argsSchema: z.object({ name: z.string() }) }, ({ name }) => ({
    messages: [{ role: "user", content: { type: "text", text: `Hello, ${name}!` } }],
  }));
  server.registerResource("note", "note://one", { description: "A note", mimeType: "text/plain" }, () => ({
    contents: [{ uri: "note://one", mimeType: "text/plain", text: "the text of the note" }],
  }));
  return server;
}

const port = process.argv[2];
if (port === undefined) serveStdio(offer, { legacy: "reject" });
else createServer(toNodeHandler(createMcpHandler(offer, { legacy: "reject" }))).listen(Number(port), "127.0.0.1");
