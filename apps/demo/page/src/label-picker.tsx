import { useEffect, useId, useState } from 'preact/hooks'

import { type FoundLabel, searchLabels } from './api'

/** A label that was chosen; null is no class. */
export interface ChosenLabel {
  readonly label: number | null
  readonly name: string
}

interface Properties {
  readonly model: string
  /** What it is for. */
  readonly title: string
  readonly chosen: readonly ChosenLabel[]
  readonly change: (chosen: readonly ChosenLabel[]) => void
  /** Whether several can be chosen. */
  readonly several?: boolean
}

const noClass: ChosenLabel = { label: null, name: 'no class' }

/** A box to find labels in by name: a combobox with a list, as WAI-ARIA has it. */
export function LabelPicker({ model, title, chosen, change, several = false }: Properties) {
  const id = useId()
  const [text, setText] = useState('')
  const [open, setOpen] = useState(false)
  const [active, setActive] = useState(0)
  const found = useLabels(model, text, open)
  const options = [...found.map(named), ...(text === '' ? [noClass] : [])]

  const choose = (option: ChosenLabel | undefined) => {
    if (!option) return
    const others = several ? chosen.filter(({ label }) => label !== option.label) : []
    change([...others, option])
    setText('')
    setOpen(false)
  }
  const onKeyDown = (event: KeyboardEvent) => {
    const last = options.length - 1
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault()
      setOpen(true)
      if (open) setActive(event.key === 'ArrowDown' ? Math.min(active + 1, last) : Math.max(active - 1, 0))
    } else if (event.key === 'Enter' && open) {
      event.preventDefault()
      choose(options[active])
    } else if (event.key === 'Escape' && open) {
      event.preventDefault()
      event.stopPropagation()
      setOpen(false)
    } else if (event.key === 'Backspace' && text === '') change(chosen.slice(0, -1))
  }

  return (
    <div class="labels">
      <label for={id}>{title}</label>
      <div class="box">
        {chosen.map((one) => (
          <span class="chip" key={one.label}>
            {one.name}
            <button
              type="button"
              aria-label={`Remove ${one.name}`}
              onClick={() => change(chosen.filter(({ label }) => label !== one.label))}
            >
              ×
            </button>
          </span>
        ))}
        <input
          id={id}
          role="combobox"
          aria-expanded={open}
          aria-controls={`${id}-list`}
          aria-autocomplete="list"
          aria-activedescendant={open && options[active] ? `${id}-${active}` : undefined}
          autocomplete="off"
          placeholder={chosen.length === 0 ? 'Search by name' : several ? 'and…' : ''}
          value={text}
          onInput={({ currentTarget }) => {
            setText(currentTarget.value)
            setActive(0)
            setOpen(true)
          }}
          onFocus={() => setOpen(true)}
          onBlur={() => setOpen(false)}
          onClick={() => setOpen(true)}
          onKeyDown={onKeyDown}
        />
      </div>
      <ul id={`${id}-list`} role="listbox" aria-label={title} hidden={!open}>
        {options.map((option, index) => (
          <li
            key={option.label}
            id={`${id}-${index}`}
            role="option"
            aria-selected={chosen.some(({ label }) => label === option.label)}
            class={index === active ? 'active' : ''}
            // The box would lose the focus before the click.
            onPointerDown={(event) => event.preventDefault()}
            onClick={() => choose(option)}
          >
            {option.name}
            {option.label !== null && <small>{option.label}</small>}
          </li>
        ))}
        {options.length === 0 && <li class="nothing">Nothing is called so</li>}
      </ul>
    </div>
  )
}

const named = ({ label, names }: FoundLabel): ChosenLabel => ({ label, name: names[0] ?? `class ${label}` })

/** What a search finds; the last answer stays until the next one comes. */
function useLabels(model: string, text: string, wanted: boolean): readonly FoundLabel[] {
  const [found, setFound] = useState<readonly FoundLabel[]>([])
  useEffect(() => {
    if (!wanted) return
    let current = true
    searchLabels(model, text).then(
      (labels) => current && setFound(labels),
      () => current && setFound([]),
    )
    return () => {
      current = false
    }
  }, [model, text, wanted])
  return found
}
