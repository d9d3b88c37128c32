/*
 * Elementary functions of IEEE's exact operations alone (+ − × ÷ √), within a few units in the last place. Those of
 * `Math` differ in their last bits from engine to engine, and with them plans and their hashes would.
 */

const bits = new DataView(new ArrayBuffer(8))

/** log₂ x of a positive, normal number. */
export function log2(x: number): number {
  bits.setFloat64(0, x)
  let exponent = (bits.getUint16(0) >> 4) - 1023
  bits.setUint16(0, (1023 << 4) | (bits.getUint16(0) & 15))
  let mantissa = bits.getFloat64(0)
  if (mantissa > Math.SQRT2) {
    mantissa /= 2
    exponent++
  }
  const s = (mantissa - 1) / (mantissa + 1)
  return exponent + (2 * s * sum(s * s, 13, (n) => 1 / (2 * n + 1))) / Math.LN2
}

/** ln x of a positive, normal number. */
export function logarithm(x: number): number {
  return log2(x) * Math.LN2
}

/** 2ˣ; 0 below the normal numbers. x is below 1023. */
export function exp2(x: number): number {
  const whole = Math.round(x)
  if (whole < -1022) return 0
  bits.setFloat64(0, 0)
  bits.setUint16(0, (whole + 1023) << 4)
  const t = (x - whole) * Math.LN2
  let e = 1
  for (let n = 16; n > 0; n--) e = 1 + (t * e) / n
  return e * bits.getFloat64(0)
}

/** x to a positive power, x from 0 to 1. */
export function power(x: number, exponent: number): number {
  return x === 0 ? 0 : exp2(exponent * log2(x))
}

/** cos πx, x from 0 to 1. */
export function cosPi(x: number): number {
  if (x > 0.5) return -cosPi(1 - x)
  return x <= 0.25 ? cosine(Math.PI * x) : sine(Math.PI * (0.5 - x))
}

/** acos(x)/π, x from 0 to 1. */
export function acosPi(x: number): number {
  // acos x = 2·atan √((1 − x)/(1 + x)); each step halves the angle.
  let tangent = Math.sqrt((1 - x) / (1 + x))
  for (let step = 0; step < 2; step++) tangent /= 1 + Math.sqrt(1 + tangent * tangent)
  const square = -tangent * tangent
  return (8 * tangent * sum(square, 13, (n) => 1 / (2 * n + 1))) / Math.PI
}

function cosine(angle: number): number {
  let value = 1
  for (let n = 18; n > 0; n -= 2) value = 1 - (angle * angle * value) / (n * (n - 1))
  return value
}

function sine(angle: number): number {
  let value = 1
  for (let n = 19; n > 1; n -= 2) value = 1 - (angle * angle * value) / (n * (n - 1))
  return angle * value
}

/** Σ coefficient(n)·xⁿ, n below `terms`. */
function sum(x: number, terms: number, coefficient: (n: number) => number): number {
  let total = 0
  for (let n = terms - 1; n >= 0; n--) total = coefficient(n) + x * total
  return total
}
