import type { ModelDescription } from '@hmar/server'
import { useEffect, useMemo, useState } from 'preact/hooks'

import { readModels } from './api'
import { Comparison } from './comparison'
import { composed, usualComposition } from './composition'
import { DrawPanel } from './draw-panel'
import { Header } from './header'
import { Inspector } from './inspector'
import type { Picture } from './picture'
import { PictureCard } from './picture-card'
import { SchedulePanel } from './schedule-panel'
import { useStudio } from './studio'

export function App() {
  const [models, setModels] = useState<readonly ModelDescription[]>([])
  const [failure, setFailure] = useState('')
  const [name, setName] = useState('')
  useEffect(() => {
    readModels().then(
      ({ models }) => setModels(models),
      (error: Error) => setFailure(`The server does not answer: ${error.message}`),
    )
  }, [])
  const model = models.find((one) => one.name === name) ?? models[0]
  return (
    <>
      <Header models={models} model={model} choose={setName} />
      {failure && (
        <p role="alert" class="failure">
          {failure}
        </p>
      )}
      {model && <Studio key={model.name} model={model} />}
    </>
  )
}

function Studio({ model }: { readonly model: ModelDescription }) {
  const studio = useStudio()
  const { config } = model
  const [composition, setComposition] = useState(() => usualComposition(config))
  const schedule = useMemo(() => composed(composition, config), [composition, config])
  const usual = useMemo(() => composed(usualComposition(config), config), [config])
  const changed = schedule.compile().hash !== usual.compile().hash
  const [inspected, setInspected] = useState<number>()
  const [problem, setProblem] = useState('')
  const picture = studio.pictures.find(({ id }) => id === inspected)
  const pairs = useMemo(() => pairsOf(studio.pictures), [studio.pictures])
  const done = studio.pictures.find(({ state }) => state === 'done')

  return (
    <main>
      <div class="controls">
        <DrawPanel
          model={model}
          schedule={changed ? schedule : undefined}
          usual={usual}
          request={studio.request}
          open={(file) => {
            setProblem('')
            studio.open(file, model).catch((error: Error) => setProblem(error.message))
          }}
        />
        <SchedulePanel
          model={model}
          composition={composition}
          change={setComposition}
          schedule={schedule}
          usual={usual}
        />
      </div>
      <section class="gallery" aria-label="Pictures">
        {problem && (
          <p role="alert" class="failure">
            {problem}
          </p>
        )}
        {studio.pictures.length === 0 && <Welcome />}
        {pairs.map(([id, pair]) => (
          <Comparison key={id} pair={pair} inspect={setInspected} remove={studio.remove} />
        ))}
        <ul class="cards">
          {studio.pictures
            .filter(({ pair }) => pair === undefined)
            .map((picture) => (
              <li key={picture.id}>
                <PictureCard picture={picture} inspect={setInspected} remove={studio.remove} />
              </li>
            ))}
        </ul>
        <p class="hidden" role="status">
          {done && `Picture ${done.id} is done: ${done.title}.`}
        </p>
      </section>
      {picture && (
        <Inspector
          key={picture.id}
          model={model}
          picture={picture}
          schedule={changed ? schedule : undefined}
          request={studio.request}
          close={() => setInspected(undefined)}
        />
      )}
    </main>
  )
}

function Welcome() {
  return (
    <div class="welcome">
      <div class="pyramid" aria-hidden="true">
        {[1, 2, 3, 4].map((side) => (
          <span key={side} style={{ '--side': side }}>
            {Array.from({ length: side * side }, (_, cell) => (
              <i key={cell} style={{ '--cell': cell / (side * side) }} />
            ))}
          </span>
        ))}
      </div>
      <h2>Choose a label and draw</h2>
      <p>
        A picture begins as one token and grows scale by scale. Open one to branch it from any scale, to paint
        over a part, or to take it with you together with its recipe.
      </p>
    </div>
  )
}

/** Pictures that belong side by side, the newest pair first. */
function pairsOf(pictures: readonly Picture[]): [number, Picture[]][] {
  const pairs = new Map<number, Picture[]>()
  for (const picture of pictures)
    if (picture.pair) pairs.set(picture.pair.id, [...(pairs.get(picture.pair.id) ?? []), picture])
  return [...pairs]
}
