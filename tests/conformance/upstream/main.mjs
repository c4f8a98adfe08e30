// The server that stands behind switchbox while the conformance suite runs.
//
//   node main.mjs [--era dual|legacy|modern]                  on stdio
//   node main.mjs [--era dual|legacy|modern] --http PORT      on http://127.0.0.1:PORT/mcp
//
// It promises to score full marks when the suite asks it directly, in each of its eras, so that whatever is missing
// through the gateway is the gateway's doing. It needs no package.

import { parseArgs } from "node:util";
import { LEGACY, key } from "./eras.mjs";
import { serveHttp } from "./http.mjs";
import { serveStdio } from "./stdio.mjs";

const { values } = parseArgs({ options: { http: { type: "string" }, era: { type: "string", default: "dual" } } });
const eras = { dual: ["legacy", "modern"], legacy: ["legacy"], modern: ["modern"] }[values.era];
if (!eras) throw new Error(`no era ${values.era}`);

/** The era in which a message is to be taken: by its envelope and its version header, never by its method. */
const eraOf = (message, version) => {
  if (eras.length === 1) return eras[0];
  const enveloped = message.params?._meta?.[key("protocolVersion")] !== undefined;
  return enveloped || (version !== undefined && !LEGACY.includes(version)) ? "modern" : "legacy";
};

if (values.http === undefined) serveStdio(eraOf);
else serveHttp(Number(values.http), eraOf);
