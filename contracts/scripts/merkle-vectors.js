// Writes test/vectors/merkle.json: trees of payments with their leaf hashes, roots and proofs.
//
// It follows the description of the tree in DemandResponse.sol, not its code: words are concatenated by hand
// and a node is found by recursion over the range of leaves it covers, where the contract folds level by
// level. Solidity and Python tests read the file; none of the three shares code with another.
"use strict";

const fs = require("fs");
const path = require("path");
const { keccak256 } = require("js-sha3");

const FILE = path.join(__dirname, "..", "test", "vectors", "merkle.json");
const SIZES = [1, 2, 3, 5, 8, 13];
const ROOT_ONLY = 300;
const MOST_WH = (1n << 128n) - 1n;
const MOST_COINS = (1n << 96n) - 1n;

const textHash = (text) => `0x${keccak256(text)}`;
const bytesHash = (hex) => `0x${keccak256(Buffer.from(hex, "hex"))}`;
const word = (hex) => hex.slice(2).padStart(64, "0");
const number = (value) => BigInt(value).toString(16).padStart(64, "0");

function makeLeaf(count, index) {
  const name = `${count}/${index}`;
  const reductionWh = count === 1 ? MOST_WH : index % 7 === 3 ? 0n : BigInt((index * 137 + count) % 4000);
  return {
    index,
    resource: textHash(`resource ${name}`),
    wallet: `0x${textHash(`wallet ${name}`).slice(-40)}`,
    reductionWh,
    payment: count === 1 ? MOST_COINS : reductionWh * 250_000_000_000_000n,
    certificateHash: textHash(`certificate ${name}`),
  };
}

/** The wallet's 20 bytes, then the payment in 12. */
const payeeOf = (leaf) => `0x${leaf.wallet.slice(2)}${leaf.payment.toString(16).padStart(24, "0")}`;

function detailOf(leaf) {
  return bytesHash(word(leaf.resource) + number(leaf.reductionWh) + word(leaf.certificateHash));
}

function hashLeaf(eventId, leaf) {
  const words = [word(eventId), number(leaf.index), word(payeeOf(leaf)), word(detailOf(leaf))];
  return bytesHash(bytesHash(words.join("")).slice(2));
}

const hashPair = (a, b) => bytesHash([a, b].sort().map(word).join(""));

/** Root over the leaves that node `chunk` of `level` covers; null if it covers none. */
function nodeAt(hashes, level, chunk) {
  if (chunk * 2 ** level >= hashes.length) return null;
  if (level === 0) return hashes[chunk];
  const left = nodeAt(hashes, level - 1, 2 * chunk);
  const right = nodeAt(hashes, level - 1, 2 * chunk + 1);
  return right === null ? left : hashPair(left, right);
}

function heightOf(count) {
  return Math.ceil(Math.log2(count));
}

function proofOf(hashes, level, chunk) {
  const proof = [];
  for (let l = level, c = chunk; l < heightOf(hashes.length); l += 1, c = Math.floor(c / 2)) {
    const sibling = nodeAt(hashes, l, c % 2 === 0 ? c + 1 : c - 1);
    if (sibling !== null) proof.push(sibling);
  }
  return proof;
}

function makeTree(count, rootOnly) {
  const eventId = textHash(`event ${count}`);
  const leaves = Array.from({ length: count }, (_, index) => makeLeaf(count, index));
  const hashes = leaves.map((leaf) => hashLeaf(eventId, leaf));
  const sum = (key) => leaves.reduce((total, leaf) => total + leaf[key], 0n);
  const tree = {
    count,
    eventId,
    root: nodeAt(hashes, heightOf(count), 0),
    totalReductionWh: sum("reductionWh"),
    totalPayment: sum("payment"),
  };
  if (rootOnly) return tree;
  tree.leaves = leaves.map((leaf, index) => ({
    ...leaf,
    payee: payeeOf(leaf),
    detail: detailOf(leaf),
    hash: hashes[index],
    proof: proofOf(hashes, 0, index),
  }));
  tree.nodes = [];
  for (let level = 1; level <= heightOf(count); level += 1) {
    for (let chunk = 0; chunk * 2 ** level < count; chunk += 1) {
      tree.nodes.push({ level, chunk, hash: nodeAt(hashes, level, chunk), proof: proofOf(hashes, level, chunk) });
    }
  }
  return tree;
}

const vectors = {
  about:
    "Trees of payments as DemandResponse.sol describes them. Amounts are decimal strings. " +
    "Leaf i of the tree with n leaves: resource, wallet (last 20 bytes) and certificateHash are keccak256 of " +
    "the text 'resource n/i', 'wallet n/i', 'certificate n/i'; eventId of 'event n'; reductionWh is 0 where " +
    "i % 7 = 3, else (137 i + n) % 4000; payment is 250000000000000 * reductionWh. The only leaf of the tree " +
    "with one leaf has reductionWh = 2^128 - 1 and payment = 2^96 - 1. The tree of 300 comes without its leaves.",
  trees: [...SIZES.map((count) => makeTree(count, false)), makeTree(ROOT_ONLY, true)],
};

const text = JSON.stringify(vectors, (_, value) => (typeof value === "bigint" ? value.toString() : value), 1);
fs.mkdirSync(path.dirname(FILE), { recursive: true });
fs.writeFileSync(FILE, `${text}\n`);
console.log(`wrote ${path.relative(process.cwd(), FILE)}`);
