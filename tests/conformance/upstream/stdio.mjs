// One JSON message on a line, in and out. A legacy conversation and modern requests may share the process.

import { createInterface } from "node:readline";
import { Fault, Session, modern } from "./eras.mjs";

export function serveStdio(eraOf) {
  const send = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
  const session = new Session(send);
  const running = new Map();

  async function request(message) {
    const { id } = message;
    const under_way = new AbortController();
    running.set(id, under_way);
    const channel = { send: (message) => under_way.signal.aborted || send(message), signal: under_way.signal };
    try {
      const era = eraOf(message);
      const result = await (era === "modern" ? modern(message, channel) : session.request(message, channel));
      if (result) channel.send({ jsonrpc: "2.0", id, result });
    } catch (error) {
      channel.send((error instanceof Fault ? error : new Fault(-32603, error.message)).answer(id));
    } finally {
      running.delete(id);
    }
  }

  const lines = createInterface({ input: process.stdin, crlfDelay: Infinity });
  lines.on("line", (line) => {
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      return send(new Fault(-32700, "not JSON").answer(null));
    }
    if (message.method === undefined) return session.answered(message);
    if (message.id !== undefined) return request(message);
    if (message.method === "notifications/cancelled") running.get(message.params?.requestId)?.abort();
    session.notified(message);
  });
  lines.on("close", () => process.exit(0));
}
