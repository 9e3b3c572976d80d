// Signatures over secp256k1 on whole numbers, after SEC 1 and RFC 6979 and not in constant time: for test vectors
// alone, so that they depend on no library that the code under test uses as well.
"use strict";

const crypto = require("crypto");
const { keccak256 } = require("js-sha3");

const P = 2n ** 256n - 2n ** 32n - 977n;
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const G = {
  x: 0x79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798n,
  y: 0x483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8n,
};

const mod = (value, modulus) => ((value % modulus) + modulus) % modulus;
const hex32 = (value) => value.toString(16).padStart(64, "0");
const bytes32 = (value) => Buffer.from(hex32(value), "hex");

function power(base, exponent, modulus) {
  let result = 1n;
  for (let b = mod(base, modulus), e = exponent; e > 0n; e >>= 1n, b = (b * b) % modulus) {
    if (e & 1n) result = (result * b) % modulus;
  }
  return result;
}

const inverse = (value, modulus) => power(value, modulus - 2n, modulus);

/** Sum of two points; null is the point at infinity. */
function add(a, b) {
  if (a === null) return b;
  if (b === null) return a;
  if (a.x === b.x && a.y !== b.y) return null;
  const slope =
    a.x === b.x ? 3n * a.x * a.x * inverse(2n * a.y, P) : (b.y - a.y) * inverse(mod(b.x - a.x, P), P);
  const x = mod(slope * slope - a.x - b.x, P);
  return { x, y: mod(slope * (a.x - x) - a.y, P) };
}

function times(point, factor) {
  let result = null;
  for (let p = point, f = factor; f > 0n; f >>= 1n, p = add(p, p)) {
    if (f & 1n) result = add(result, p);
  }
  return result;
}

function addressOf(key) {
  const point = times(G, key);
  return `0x${keccak256(Buffer.from(hex32(point.x) + hex32(point.y), "hex")).slice(-40)}`;
}

/** The nonce of RFC 6979, section 3.2, with SHA-256. */
function nonceOf(key, digest) {
  const hmac = (secret, ...parts) => crypto.createHmac("sha256", secret).update(Buffer.concat(parts)).digest();
  const seed = Buffer.concat([bytes32(key), bytes32(digest % ORDER)]);
  let v = Buffer.alloc(32, 1);
  let k = Buffer.alloc(32, 0);
  for (const mark of [0, 1]) {
    k = hmac(k, v, Buffer.from([mark]), seed);
    v = hmac(k, v);
  }
  for (;;) {
    v = hmac(k, v);
    const nonce = BigInt(`0x${v.toString("hex")}`);
    if (nonce > 0n && nonce < ORDER) return nonce;
    k = hmac(k, v, Buffer.from([0]));
    v = hmac(k, v);
  }
}

/** r, s and v in 65 bytes, with the lower of the two possible s. */
function sign(key, digestHex) {
  const digest = BigInt(digestHex);
  const nonce = nonceOf(key, digest);
  const point = times(G, nonce);
  const r = mod(point.x, ORDER);
  let s = mod(inverse(nonce, ORDER) * (digest + r * key), ORDER);
  let odd = point.y & 1n;
  if (s > ORDER / 2n) [s, odd] = [ORDER - s, odd ^ 1n];
  return `0x${hex32(r)}${hex32(s)}${(27n + odd).toString(16)}`;
}

module.exports = { ORDER, addressOf, sign };
