import { useId } from 'preact/hooks'

interface Properties {
  readonly title: string
  readonly value: number
  readonly least?: number
  readonly most: number
  readonly step: number
  /** How a value is written. Defaults to one decimal. */
  readonly unit?: (value: number) => string
  readonly change: (value: number) => void
}

/** A number to be slid, with its value beside its title. */
export function Slider({
  title,
  value,
  least = 0,
  most,
  step,
  unit = (one) => one.toFixed(1),
  change,
}: Properties) {
  const id = useId()
  return (
    <div class="slider">
      <label for={id}>{title}</label>
      <output for={id}>{unit(value)}</output>
      <input
        id={id}
        type="range"
        min={least}
        max={most}
        step={step}
        value={value}
        aria-valuetext={unit(value)}
        onInput={({ currentTarget }) => change(currentTarget.valueAsNumber)}
      />
    </div>
  )
}
