// Compiles src/*.sol and writes one file per contract to artifacts/, or checks the files that are there.
//
//   node scripts/compile.js           write artifacts/
//   node scripts/compile.js --check   write nothing; exit 1 and say what differs
//
// compiler.json names the compiler, the library and the settings. The output depends on nothing else: the
// bytecode carries no hash of paths or sources, and the version of either package is checked first.
"use strict";

const crypto = require("crypto");
const fs = require("fs");
const path = require("path");

const ROOT = path.join(__dirname, "..");
const SRC = path.join(ROOT, "src");
const OUT = path.join(ROOT, "artifacts");
const CONFIG = path.join(ROOT, "compiler.json");

function fail(sentence) {
  console.error(sentence);
  process.exit(1);
}

/** Contracts stand in src/ itself; what they share stands in src/support/. */
function contractNames() {
  return fs.readdirSync(SRC).filter((name) => name.endsWith(".sol")).sort();
}

function sourceNames() {
  const shared = fs.readdirSync(path.join(SRC, "support")).filter((name) => name.endsWith(".sol")).sort();
  return [...contractNames(), ...shared.map((name) => `support/${name}`)];
}

/** SHA-256 over compiler.json and the sources in order of name: each name, its length, and its bytes. */
function hashSources() {
  const hash = crypto.createHash("sha256");
  for (const file of [CONFIG, ...sourceNames().map((name) => path.join(SRC, name))]) {
    const bytes = fs.readFileSync(file);
    hash.update(`${path.basename(file)} ${bytes.length}\n`).update(bytes);
  }
  return hash.digest("hex");
}

function requireVersion(packageName, wanted) {
  const file = path.join(ROOT, "node_modules", packageName, "package.json");
  if (!fs.existsSync(file)) fail(`${packageName} is not installed: run "npm ci" in ${path.basename(ROOT)}/ first.`);
  const { version } = JSON.parse(fs.readFileSync(file, "utf8"));
  if (version !== wanted) fail(`${packageName} is installed at ${version}, but compiler.json asks for ${wanted}.`);
}

function readImport(name) {
  const file = path.join(ROOT, "node_modules", name);
  return fs.existsSync(file) ? { contents: fs.readFileSync(file, "utf8") } : { error: `${name} not found` };
}

/** What each error means, in the words of its NatSpec, by signature. */
function errorNotices(userdoc) {
  return Object.fromEntries(Object.entries(userdoc.errors ?? {}).map(([key, [{ notice }]]) => [key, notice]));
}

/** The artifacts as they should be: a map from file name to text. */
function compile() {
  const config = JSON.parse(fs.readFileSync(CONFIG, "utf8"));
  requireVersion("solc", config.solc);
  requireVersion("@openzeppelin/contracts", config.openzeppelin);

  const solc = require("solc");
  const sources = {};
  for (const name of sourceNames()) sources[`src/${name}`] = { content: fs.readFileSync(path.join(SRC, name), "utf8") };
  const outputSelection = { "*": { "*": ["abi", "evm.bytecode.object", "userdoc"] } };
  const input = { language: "Solidity", sources, settings: { ...config.settings, outputSelection } };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: readImport }));
  if (output.errors?.length) fail(output.errors.map((error) => error.formattedMessage).join("\n"));

  const sourceHash = hashSources();
  const files = new Map();
  for (const name of contractNames()) {
    const contractName = path.basename(name, ".sol");
    const contract = output.contracts[`src/${name}`][contractName];
    const artifact = {
      contractName,
      solcVersion: solc.version().replace(/\.Emscripten.*/, ""),
      evmVersion: config.settings.evmVersion,
      sourceHash,
      abi: contract.abi,
      errors: errorNotices(contract.userdoc),
      bytecode: `0x${contract.evm.bytecode.object}`,
    };
    files.set(`${contractName}.json`, `${JSON.stringify(artifact, null, 1)}\n`);
  }
  return files;
}

/** What differs between a file on disk and what it should be, in words; null if nothing does. */
function difference(name, wanted) {
  const file = path.join(OUT, name);
  if (!fs.existsSync(file)) return `artifacts/${name} is missing`;
  const text = fs.readFileSync(file, "utf8");
  if (text === wanted) return null;
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    return `artifacts/${name} is not JSON`;
  }
  const expected = JSON.parse(wanted);
  const keys = [...new Set([...Object.keys(expected), ...Object.keys(found ?? {})])];
  const changed = keys.filter((key) => JSON.stringify(expected[key]) !== JSON.stringify(found?.[key]));
  return `artifacts/${name} differs in ${changed.join(", ") || "its layout"}`;
}

function main(args) {
  if (args.some((arg) => arg !== "--check")) fail("usage: node scripts/compile.js [--check]");
  const files = compile();
  if (!args.includes("--check")) {
    fs.mkdirSync(OUT, { recursive: true });
    for (const [name, text] of files) fs.writeFileSync(path.join(OUT, name), text);
    console.log(`wrote ${[...files.keys()].join(", ")}`);
    return;
  }
  const problems = [...files].map(([name, text]) => difference(name, text)).filter(Boolean);
  const extra = fs.existsSync(OUT) ? fs.readdirSync(OUT).filter((name) => !files.has(name)) : [];
  problems.push(...extra.map((name) => `artifacts/${name} belongs to no contract`));
  if (problems.length > 0) fail(`${problems.join("; ")}: run "node scripts/compile.js".`);
  console.log(`artifacts are up to date: ${[...files.keys()].join(", ")}`);
}

main(process.argv.slice(2));
