// Compares what Slither found with what SLITHER.md explains, and exits 1 on any difference.
//
//   node scripts/slither-findings.js findings.json
"use strict";

const fs = require("fs");
const path = require("path");

const EXPLANATIONS = path.join(__dirname, "..", "SLITHER.md");

/** Rows of the table: | `detector` | `where` | why |. */
function explained() {
  const rows = fs.readFileSync(EXPLANATIONS, "utf8").matchAll(/^\| `([^`]+)` \| `([^`]+)` \| \S/gm);
  return new Set([...rows].map(([, detector, where]) => `${detector} ${where}`));
}

/** The contract or `Contract.function` that an element of a finding belongs to. */
function placeOf(element) {
  const parent = element.type_specific_fields?.parent;
  if (element.type === "function") return `${parent.name}.${element.name}`;
  return parent && element.type !== "contract" && ["function", "contract"].includes(parent.type)
    ? placeOf(parent)
    : element.name;
}

function main([file]) {
  const report = JSON.parse(fs.readFileSync(file, "utf8"));
  if (!report.success) {
    console.error(`slither failed: ${report.error}`);
    process.exit(1);
  }
  const rows = explained();
  const gone = new Set(rows);
  let unexplained = 0;
  for (const finding of report.results.detectors ?? []) {
    const key = `${finding.check} ${finding.elements.length > 0 ? placeOf(finding.elements[0]) : "?"}`;
    gone.delete(key);
    if (rows.has(key)) continue;
    unexplained += 1;
    console.error(`SLITHER.md does not explain: ${key} (${finding.impact})\n${finding.description}`);
  }
  for (const key of gone) console.error(`SLITHER.md explains what slither no longer finds: ${key}`);
  if (unexplained + gone.size > 0) process.exit(1);
  console.log(`slither: ${report.results.detectors?.length ?? 0} findings, all explained in SLITHER.md`);
}

main(process.argv.slice(2));
