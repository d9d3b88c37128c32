type Typed = Int32Array | Float32Array | Uint8Array

/** Views of equal length. */
export const split = <Values extends Typed>(values: Values, length: number): Values[] =>
  Array.from(
    { length: values.length === 0 ? 0 : values.length / length },
    (_, index) => values.subarray(index * length, (index + 1) * length) as Values,
  )

/** One array after another. */
export function join<Values extends Typed>(
  type: new (length: number) => Values,
  parts: readonly Values[],
): Values {
  const joined = new type(parts.reduce((sum, { length }) => sum + length, 0))
  let offset = 0
  for (const part of parts) {
    joined.set(part, offset)
    offset += part.length
  }
  return joined
}
