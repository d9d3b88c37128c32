/** Options with nothing left open. */
export type Resolved<T> = { readonly [Key in keyof T]-?: Exclude<T[Key], undefined> }

/** `base` changed by the options that are given. */
export function override<Base extends object>(base: Base, options: object = {}): Base {
  return {
    ...base,
    ...Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)),
  }
}
