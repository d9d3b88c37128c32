import type { Schedule } from '@hmar/scheduler'
import type { ModelDescription } from '@hmar/server'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'

import { type ChosenLabel, LabelPicker } from './label-picker'
import { Mask } from './mask'
import { MaskPainter } from './mask-painter'
import { finished, type Picture, shown } from './picture'
import { randomSeed } from './random-seed'
import { base64Of, fileName, recipeAddress } from './recipe-file'
import { Slider } from './slider'
import type { Request } from './studio'

interface Properties {
  readonly model: ModelDescription
  readonly picture: Picture
  /** The composed schedule, where it is another than the model's. */
  readonly schedule: Schedule | undefined
  readonly request: (request: Request) => void
  readonly close: () => void
}

/** A picture close up: its scales, to branch from; a mask, to redraw a part; its files. */
export function Inspector({ model, picture, schedule, request, close }: Properties) {
  const dialog = useRef<HTMLDialogElement>(null)
  const { side, config } = model
  const scales = config.pyramid.length
  const [scale, setScale] = useState(scales)
  const [paints, setPaints] = useState(false)
  const [chosen, setChosen] = useState<readonly ChosenLabel[]>(() => labelOf(picture))
  const [count, setCount] = useState(4)
  const mask = useMemo(() => new Mask(side), [side])
  const [version, setVersion] = useState(0)
  const [radius, setRadius] = useState(Math.round(side / 12))
  const [erases, setErases] = useState(false)
  useEffect(() => dialog.current!.showModal(), [])

  const label = chosen[0] ?? { label: null, name: 'no class' }
  const how = { labels: [label.label], count, seed: randomSeed(), ...(schedule && { schedule }) }
  const titles = Array<string>(count).fill(label.name)
  const { id, tokens, recipe, title } = picture
  const png = finished(picture)!

  const branch = () => {
    const source = tokens ? { tokens } : { picture: base64Of(png) }
    const origin = { kind: 'branch', of: id, scale } as const
    request({ model, path: 'branch', body: { ...how, ...source, scales: scale }, titles, origin })
    close()
  }
  const redraw = () => {
    const body = { ...how, picture: base64Of(png), mask: mask.toPng() }
    request({ model, path: 'edit', body, titles, origin: { kind: 'edit', of: id } })
    close()
  }
  const changeMask = (change: () => void) => () => {
    change()
    setVersion((before) => before + 1)
  }

  return (
    <dialog ref={dialog} class="inspector" aria-label={`Picture ${id}, ${title}`} onClose={close}>
      <header>
        <h2>{title}</h2>
        <button type="button" class="close" aria-label="Close" onClick={() => dialog.current!.close()}>
          ×
        </button>
      </header>
      <div class="stage">
        <img
          src={picture.scales[scale - 1] ?? shown(picture)}
          alt={`${title}, scale ${scale} of ${scales}`}
        />
        {paints && (
          <MaskPainter
            mask={mask}
            radius={radius}
            erases={erases}
            version={version}
            painted={() => setVersion((before) => before + 1)}
          />
        )}
      </div>
      <div class="tools">
        <fieldset class="modes" aria-label="What to do">
          <button type="button" aria-pressed={!paints} onClick={() => setPaints(false)}>
            Branch from a scale
          </button>
          <button
            type="button"
            aria-pressed={paints}
            onClick={() => {
              setPaints(true)
              setScale(scales)
            }}
          >
            Paint over a part
          </button>
        </fieldset>

        {paints ? (
          <>
            <p class="hint">Paint what is to be drawn anew. The rest stays as it is.</p>
            <Slider
              title="Brush"
              value={radius}
              least={1}
              most={Math.round(side / 4)}
              step={1}
              unit={(value) => `${value * 2} pixels`}
              change={setRadius}
            />
            <div class="row">
              <button type="button" aria-pressed={erases} onClick={() => setErases(!erases)}>
                Erase
              </button>
              <button type="button" onClick={changeMask(() => mask.invert())}>
                Invert
              </button>
              <button type="button" onClick={changeMask(() => mask.fill(0))}>
                Clear
              </button>
            </div>
          </>
        ) : (
          <fieldset class="scales">
            <legend>Keep scales 1 to {scale}, draw the finer ones anew</legend>
            <div>
              {config.pyramid.map((cells, index) => (
                <label key={cells} class={index < scale ? 'kept' : ''}>
                  <input
                    type="radio"
                    name="scale"
                    value={index + 1}
                    checked={scale === index + 1}
                    onChange={() => setScale(index + 1)}
                  />
                  {picture.scales[index] ? (
                    <img src={picture.scales[index]} alt="" />
                  ) : (
                    <i aria-hidden="true" />
                  )}
                  <span>
                    {cells}×{cells}
                  </span>
                </label>
              ))}
            </div>
          </fieldset>
        )}

        <LabelPicker model={model.name} title="Draw it as" chosen={chosen} change={setChosen} />
        <label class="inline">
          <span>Pictures</span>
          <input
            type="number"
            min="1"
            max="8"
            value={count}
            onInput={({ currentTarget }) =>
              setCount(Math.min(8, Math.max(1, currentTarget.valueAsNumber || 1)))
            }
          />
        </label>
        {paints ? (
          <button type="button" class="primary" disabled={mask.empty} onClick={redraw}>
            Redraw the painted part
          </button>
        ) : (
          <button type="button" class="primary" disabled={scale === scales} onClick={branch}>
            {scale === scales ? 'Choose a scale to branch from' : `Branch from scale ${scale}`}
          </button>
        )}

        {recipe && (
          <div class="files">
            <a class="button" download={`${fileName(recipe)}.png`} href={png}>
              Picture
            </a>
            <a class="button" download={`${fileName(recipe)}.json`} href={recipeAddress(recipe)}>
              Recipe
            </a>
            <p class="hint">
              Seed {recipe.seed}, image {recipe.image}. The PNG holds its recipe, too:{' '}
              <code>hmar reproduce {fileName(recipe)}.png</code>
            </p>
          </div>
        )}
      </div>
    </dialog>
  )
}

function labelOf({ recipe }: Picture): readonly ChosenLabel[] {
  if (recipe === undefined || recipe.label === null) return []
  return [{ label: recipe.label, name: recipe.labelName ?? `class ${recipe.label}` }]
}
