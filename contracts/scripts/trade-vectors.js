// Writes test/vectors/trades.json: days of trades with their leaf hashes, roots, proofs, net amounts and published
// files, and meter statements with their EIP-712 digests and signatures.
//
// It follows the descriptions in MicrogridSettlement.sol and EnergyMarket.sol, not their code: words are
// concatenated by hand, a node is found by recursion over the range of leaves it covers, and signatures are made
// after SEC 1 and RFC 6979 on whole numbers. Solidity and Python tests read the file; none of the three shares
// code with another.
"use strict";

const crypto = require("crypto");
const fs = require("fs");
const path = require("path");
const { keccak256 } = require("js-sha3");

const FILE = path.join(__dirname, "..", "test", "vectors", "trades.json");
const SIZES = [1, 2, 3, 5, 8, 13];
const FIRST_DAY = 20_000; // 2024-10-04
const PARTICIPANTS = 5;

const textHash = (text) => `0x${keccak256(text)}`;
const bytesHash = (hex) => `0x${keccak256(Buffer.from(hex, "hex"))}`;
const word = (hex) => hex.slice(2).padStart(64, "0");
const number = (value) => BigInt.asUintN(256, BigInt(value)).toString(16).padStart(64, "0");
const participant = (k) => `0x${textHash(`participant ${k}`).slice(-40)}`;

// --- days of trades ------------------------------------------------------------------------------------------

function makeTrade(count, index) {
  if (count === 1) {
    const [seller, buyer] = [participant(0), participant(1)];
    return { index, seller, buyer, wh: (1n << 128n) - 1n, value: (1n << 127n) - 1n };
  }
  const wh = BigInt(((index * 731 + count * 17) % 5000) + 1);
  return {
    index,
    seller: participant(index % PARTICIPANTS),
    buyer: participant((index + 1 + (index % 3)) % PARTICIPANTS),
    wh,
    value: wh * BigInt(100 + 7 * index) * 10n ** 9n,
  };
}

function hashTrade(day, trade) {
  const words = [
    number(day),
    number(trade.index),
    word(trade.seller),
    word(trade.buyer),
    number(trade.wh),
    number(trade.value),
  ];
  return bytesHash(bytesHash(words.join("")).slice(2));
}

const hashPair = (a, b) => bytesHash([a, b].sort().map(word).join(""));
const heightOf = (count) => Math.ceil(Math.log2(count));

/** Root over the leaves that node `chunk` of `level` covers; null if it covers none. */
function nodeAt(hashes, level, chunk) {
  if (chunk * 2 ** level >= hashes.length) return null;
  if (level === 0) return hashes[chunk];
  const left = nodeAt(hashes, level - 1, 2 * chunk);
  const right = nodeAt(hashes, level - 1, 2 * chunk + 1);
  return right === null ? left : hashPair(left, right);
}

function proofOf(hashes, index) {
  const proof = [];
  for (let level = 0, c = index; level < heightOf(hashes.length); level += 1, c = Math.floor(c / 2)) {
    const sibling = nodeAt(hashes, level, c % 2 === 0 ? c + 1 : c - 1);
    if (sibling !== null) proof.push(sibling);
  }
  return proof;
}

/** What each participant gets less what each owes, without those who come out even, by ascending address. */
function netOf(trades) {
  const everyone = [...new Set(trades.flatMap((trade) => [trade.seller, trade.buyer]))].sort();
  return everyone
    .map((who) => {
      const sum = (side) => trades.filter((t) => t[side] === who).reduce((total, t) => total + t.value, 0n);
      return { participant: who, amount: sum("seller") - sum("buyer") };
    })
    .filter(({ amount }) => amount !== 0n);
}

/** Hash of abi.encode of a list of pairs: where it starts, its length, and two words a pair. */
function hashNet(net) {
  const words = net.map((row) => word(row.participant) + number(row.amount));
  return bytesHash([number(32), number(net.length), ...words].join(""));
}

function publish(isoDay, trades, net, totalWh, totalValue) {
  const sums = net.map((row) => `"${row.participant}":${row.amount}`).join(",");
  const totals = `{"trades":${trades.length},"value":${totalValue},"wh":${totalWh}}`;
  const header = `{"day":"${isoDay}","format":"negawatt-trades/1","net":{${sums}},"totals":${totals}}`;
  const lines = trades.map(
    (t) => `{"buyer":"${t.buyer}","index":${t.index},"seller":"${t.seller}","value":${t.value},"wh":${t.wh}}`,
  );
  return `${[header, ...lines].join("\n")}\n`;
}

function makeDay(count) {
  const day = FIRST_DAY + count;
  const isoDay = new Date(day * 86_400_000).toISOString().slice(0, 10);
  const trades = Array.from({ length: count }, (_, index) => makeTrade(count, index));
  const hashes = trades.map((trade) => hashTrade(day, trade));
  const total = (key) => trades.reduce((sum, trade) => sum + trade[key], 0n);
  const net = netOf(trades);
  const published = publish(isoDay, trades, net, total("wh"), total("value"));
  return {
    count,
    day,
    isoDay,
    root: nodeAt(hashes, heightOf(count), 0),
    totalWh: total("wh"),
    totalValue: total("value"),
    publishedHash: `0x${crypto.createHash("sha256").update(published).digest("hex")}`,
    netHash: hashNet(net),
    net,
    trades: trades.map((trade, index) => ({ ...trade, hash: hashes[index], proof: proofOf(hashes, index) })),
  };
}

// --- meter statements ----------------------------------------------------------------------------------------

const P = 2n ** 256n - 2n ** 32n - 977n;
const N = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const G = [
  0x79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798n,
  0x483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8n,
];

const mod = (a, m) => ((a % m) + m) % m;

function inverse(a, m) {
  let [r0, r1, s0, s1] = [mod(a, m), m, 1n, 0n];
  while (r1 !== 0n) {
    const q = r0 / r1;
    [r0, r1, s0, s1] = [r1, r0 - q * r1, s1, s0 - q * s1];
  }
  return mod(s0, m);
}

/** Sum of two points of secp256k1; null is the point at infinity. */
function add(a, b) {
  if (a === null || b === null) return a ?? b;
  if (a[0] === b[0] && mod(a[1] + b[1], P) === 0n) return null;
  const slope = a[0] === b[0] ? 3n * a[0] * a[0] * inverse(2n * a[1], P) : (b[1] - a[1]) * inverse(b[0] - a[0], P);
  const x = mod(slope * slope - a[0] - b[0], P);
  return [x, mod(slope * (a[0] - x) - a[1], P)];
}

function times(factor, point) {
  let sum = null;
  for (let k = factor, p = point; k > 0n; k >>= 1n, p = add(p, p)) if (k & 1n) sum = add(sum, p);
  return sum;
}

/** The nonce of RFC 6979, section 3.2, for SHA-256 and a digest as long as the order. */
function nonceOf(key, digest) {
  const hmac = (k, ...parts) => crypto.createHmac("sha256", k).update(Buffer.concat(parts)).digest();
  const seed = Buffer.from(number(key) + number(mod(BigInt(digest), N)), "hex");
  let v = Buffer.alloc(32, 1);
  let k = Buffer.alloc(32, 0);
  for (const step of [0, 1]) {
    k = hmac(k, v, Buffer.from([step]), seed);
    v = hmac(k, v);
  }
  for (;;) {
    v = hmac(k, v);
    const nonce = BigInt(`0x${v.toString("hex")}`);
    if (nonce > 0n && nonce < N) return nonce;
    k = hmac(k, v, Buffer.from([0]));
    v = hmac(k, v);
  }
}

/** r, s and v one after the other; s in the lower half, as Ethereum wants it. */
function sign(key, digest) {
  const nonce = nonceOf(key, digest);
  const [x, y] = times(nonce, G);
  const r = mod(x, N);
  let s = mod(inverse(nonce, N) * (BigInt(digest) + r * key), N);
  let odd = y & 1n;
  if (s > N / 2n) [s, odd] = [N - s, odd ^ 1n];
  return `0x${number(r)}${number(s)}${(27n + odd).toString(16)}`;
}

function addressOf(key) {
  const [x, y] = times(key, G);
  return `0x${bytesHash(number(x) + number(y)).slice(-40)}`;
}

const DOMAIN = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const DELIVERY = "Delivery(uint256 dealId,uint256 deliveredWh,uint256 statementDeadline)";

function makeDeliveries() {
  const [name, version, chainId] = ["negawatt EnergyMarket", "1", 20250611];
  const contract = `0x${textHash("energy market").slice(-40)}`;
  const key = BigInt(textHash("meter operator: a key for tests")) % N;
  const domain = bytesHash(
    [textHash(DOMAIN), textHash(name), textHash(version)].map(word).join("") + number(chainId) + word(contract),
  );
  const statements = [
    [1, 0, 1_760_000_000],
    [2, 1500, 1_760_086_400],
    [(1n << 128n) - 1n, (1n << 64n) - 1n, (1n << 48n) - 1n],
  ].map(([dealId, deliveredWh, statementDeadline]) => {
    const struct = bytesHash(word(textHash(DELIVERY)) + [dealId, deliveredWh, statementDeadline].map(number).join(""));
    const digest = bytesHash(`1901${word(domain)}${word(struct)}`);
    return {
      dealId: BigInt(dealId),
      deliveredWh: BigInt(deliveredWh),
      statementDeadline: BigInt(statementDeadline),
      digest,
      signature: sign(key, digest),
    };
  });
  return {
    name, version, chainId, contract, key: `0x${number(key)}`, signer: addressOf(key),
    typeHash: textHash(DELIVERY), domainSeparator: domain, statements,
  };
}

// -------------------------------------------------------------------------------------------------------------

const vectors = {
  about:
    "Days of trades as MicrogridSettlement.sol describes them, and meter statements for EnergyMarket.sol. Amounts " +
    "are decimal strings. Participant k is the last 20 bytes of keccak256 of the text 'participant k'. Trade i of " +
    "the day with n trades: seller i % 5, buyer (i + 1 + i % 3) % 5, wh (731 i + 17 n) % 5000 + 1, value " +
    "wh * (100 + 7 i) * 10^9; the only trade of the day with one has wh 2^128 - 1 and value 2^127 - 1. " +
    "publishedHash is the SHA-256 of the day's file. The key is for tests and known to all.",
  days: SIZES.map(makeDay),
  delivery: makeDeliveries(),
};

const text = JSON.stringify(vectors, (_, value) => (typeof value === "bigint" ? value.toString() : value), 1);
fs.mkdirSync(path.dirname(FILE), { recursive: true });
fs.writeFileSync(FILE, `${text}\n`);
console.log(`wrote ${path.relative(process.cwd(), FILE)}`);
