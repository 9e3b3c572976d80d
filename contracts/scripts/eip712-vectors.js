// Writes test/vectors/eip712.json: every message that owners sign, with its hashes and a signature.
//
// It follows EIP-712 and the types as the contracts' comments name them, not their code: a type is a list of
// fields here, from which both its text and its encoding follow. Signatures come from secp256k1.js.
"use strict";

const fs = require("fs");
const path = require("path");
const { keccak256 } = require("js-sha3");
const { ORDER, addressOf, sign } = require("./secp256k1");

const FILE = path.join(__dirname, "..", "test", "vectors", "eip712.json");

const textHash = (text) => `0x${keccak256(text)}`;
const bytesHash = (hex) => `0x${keccak256(Buffer.from(hex, "hex"))}`;
const hex32 = (value) => value.toString(16).padStart(64, "0");

// ---- typed data

const DOMAIN = [
  ["string", "name"],
  ["string", "version"],
  ["uint256", "chainId"],
  ["address", "verifyingContract"],
];

const TYPES = {
  Consent: [
    ["bytes32", "resource"],
    ["address", "owner"],
    ["uint32", "contractedW"],
    ["bool", "standing"],
    ["uint256", "nonce"],
    ["uint256", "deadline"],
  ],
  Handover: [
    ["bytes32", "resource"],
    ["address", "to"],
    ["uint256", "nonce"],
    ["uint256", "deadline"],
  ],
  Withdrawal: [
    ["bytes32", "resource"],
    ["uint256", "nonce"],
    ["uint256", "deadline"],
  ],
  Choice: [
    ["bytes32", "eventId"],
    ["bytes32", "resource"],
    ["bool", "takesPart"],
    ["uint256", "nonce"],
    ["uint256", "deadline"],
  ],
  Challenge: [
    ["bytes32", "eventId"],
    ["bytes32", "resource"],
    ["bytes32", "root"],
    ["bytes32", "reasonHash"],
    ["uint256", "deadline"],
  ],
};

const typeText = (name, fields) => `${name}(${fields.map((field) => field.join(" ")).join(",")})`;

function encode(type, value) {
  if (type === "string") return textHash(value).slice(2);
  if (type === "bool") return hex32(value ? 1n : 0n);
  if (type.startsWith("uint")) return hex32(BigInt(value));
  return value.slice(2).padStart(64, "0");
}

function hashStruct(name, fields, values) {
  const words = fields.map(([type, field]) => encode(type, values[field]));
  return bytesHash(textHash(typeText(name, fields)).slice(2) + words.join(""));
}

// ---- the vectors

// Keys that anyone can know: they own nothing anywhere.
const KEYS = {
  first: BigInt(textHash("first owner of the test vectors")) % ORDER,
  second: BigInt(textHash("second owner of the test vectors")) % ORDER,
};
const OWNERS = { first: addressOf(KEYS.first), second: addressOf(KEYS.second) };
const REGISTRY = { name: "negawatt ResourceRegistry", verifyingContract: `0x${"a1".repeat(20)}` };
const EVENTS = { name: "negawatt DemandResponse", verifyingContract: `0x${"b2".repeat(20)}` };

const resource = textHash("resource of the test vectors");
const eventId = textHash("event of the test vectors");
const root = textHash("root of the test vectors");
const reasonHash = textHash("reasons of the test vectors");
const deadline = "1800000000";

// In the order in which one meter's life would use them: each names the nonce that it meets.
const MESSAGES = [
  ["Consent", REGISTRY, "first", { resource, owner: OWNERS.first, contractedW: 4600, standing: true, nonce: "0", deadline }],
  ["Choice", EVENTS, "first", { eventId, resource, takesPart: true, nonce: "0", deadline }],
  ["Choice", EVENTS, "first", { eventId, resource, takesPart: false, nonce: "1", deadline }],
  ["Choice", EVENTS, "first", { eventId, resource, takesPart: true, nonce: "2", deadline }],
  ["Challenge", EVENTS, "first", { eventId, resource, root, reasonHash, deadline }],
  ["Handover", REGISTRY, "first", { resource, to: OWNERS.second, nonce: "1", deadline }],
  ["Consent", REGISTRY, "second", { resource, owner: OWNERS.second, contractedW: 4600, standing: false, nonce: "1", deadline }],
  ["Withdrawal", REGISTRY, "second", { resource, nonce: "2", deadline }],
];

function makeVector([primaryType, contract, signer, message], chainId) {
  const domain = { name: contract.name, version: "1", chainId, verifyingContract: contract.verifyingContract };
  const domainSeparator = hashStruct("EIP712Domain", DOMAIN, domain);
  const typeString = typeText(primaryType, TYPES[primaryType]);
  const structHash = hashStruct(primaryType, TYPES[primaryType], message);
  const digest = bytesHash(`1901${domainSeparator.slice(2)}${structHash.slice(2)}`);
  return {
    primaryType,
    domain,
    message,
    typeString,
    typeHash: textHash(typeString),
    structHash,
    domainSeparator,
    digest,
    signer: OWNERS[signer],
    signature: sign(KEYS[signer], digest),
  };
}

const vectors = {
  about:
    "Messages that owners sign (EIP-712), in the order in which one meter's life uses them, for two chains. " +
    "Nonces and deadlines are decimal strings. The private keys are keccak256 of 'first owner of the test " +
    "vectors' and of 'second owner of the test vectors'; signatures are r, s and v, with the nonce of RFC 6979 " +
    "and the lower s. Hashes in messages are keccak256 of 'resource of the test vectors', likewise with event, " +
    "root and reasons.",
  keys: { first: `0x${hex32(KEYS.first)}`, second: `0x${hex32(KEYS.second)}` },
  vectors: [31337, 1].flatMap((chainId) => MESSAGES.map((message) => makeVector(message, chainId))),
};

fs.mkdirSync(path.dirname(FILE), { recursive: true });
fs.writeFileSync(FILE, `${JSON.stringify(vectors, null, 1)}\n`);
console.log(`wrote ${path.relative(process.cwd(), FILE)}`);
