import { type Recipe, Recipe as RecipeSchema } from '@hmar/core'
import type { ModelDescription, ServerEvent } from '@hmar/server'
import { useCallback, useEffect, useReducer, useRef } from 'preact/hooks'

import { draw, Refusal, readRecipe } from './api'
import { happened, type Origin, type Picture } from './picture'

/** What is asked for, and how its pictures are shown. */
export interface Request {
  readonly model: ModelDescription
  readonly path: 'generate' | 'branch' | 'edit' | 'reproduce'
  readonly body: object
  /** One for each image. */
  readonly titles: readonly string[]
  readonly origin?: Origin
  readonly pair?: Picture['pair']
  /** The recipe that is followed. */
  readonly recipe?: Recipe
}

type Change =
  | { readonly kind: 'add'; readonly pictures: readonly Picture[] }
  | { readonly kind: 'event'; readonly ids: readonly number[]; readonly event: ServerEvent }
  | { readonly kind: 'fail'; readonly ids: readonly number[]; readonly note: string }
  | { readonly kind: 'compare'; readonly id: number; readonly recipe: Recipe }
  | { readonly kind: 'remove'; readonly id: number }

function change(pictures: readonly Picture[], what: Change): readonly Picture[] {
  switch (what.kind) {
    case 'add':
      return [...what.pictures, ...pictures]
    case 'event':
      return pictures.map((picture) => {
        const image = what.ids.indexOf(picture.id)
        return image < 0 ? picture : happened(picture, what.event, image)
      })
    case 'fail':
      return pictures.map((picture) =>
        what.ids.includes(picture.id) && picture.state !== 'done'
          ? { ...picture, state: 'failed', note: what.note }
          : picture,
      )
    case 'compare':
      return pictures.map((picture) =>
        picture.id === what.id
          ? { ...picture, same: picture.recipe?.pixels === what.recipe.pixels }
          : picture,
      )
    case 'remove':
      return pictures.filter(({ id }) => id !== what.id)
  }
}

/** The pictures of the page, and what can be done for more of them. */
export function useStudio() {
  const [pictures, dispatch] = useReducer(change, [])
  const nextId = useRef(1)
  const requests = useRef(new Map<number, AbortController>())
  // Another model's pictures take the place of these: nobody waits for them any more.
  useEffect(
    () => () => {
      for (const controller of requests.current.values()) controller.abort()
    },
    [],
  )

  const request = useCallback(async ({ model, path, body, titles, origin, pair, recipe }: Request) => {
    const ids = titles.map(() => nextId.current++)
    const controller = new AbortController()
    for (const id of ids) requests.current.set(id, controller)
    const scales = model.config.pyramid.map(() => undefined)
    const common = {
      model: model.name,
      state: 'waiting',
      note: 'Asking',
      fraction: 0,
      scales,
      ...(origin && { origin }),
      ...(pair && { pair }),
    } as const
    dispatch({ kind: 'add', pictures: titles.map((title, index) => ({ ...common, id: ids[index]!, title })) })
    try {
      for await (const event of draw(model.name, path, body, controller.signal))
        dispatch({ kind: 'event', ids, event })
      if (recipe) dispatch({ kind: 'compare', id: ids[0]!, recipe })
    } catch (error) {
      if (!controller.signal.aborted) dispatch({ kind: 'fail', ids, note: (error as Error).message })
    } finally {
      for (const id of ids) requests.current.delete(id)
    }
  }, [])

  /** Puts a picture file on the page; one with a recipe is made again, a recipe alone too. */
  const open = useCallback(
    async (file: File, model: ModelDescription) => {
      const recipe = await recipeIn(file)
      if (recipe) {
        const title = recipe.labelName ?? (recipe.label === null ? 'no class' : `class ${recipe.label}`)
        const origin = { kind: 'file', name: file.name } as const
        return request({ model, path: 'reproduce', body: recipe, titles: [title], origin, recipe })
      }
      const address = await fitted(file, model.side)
      const scales = model.config.pyramid.map((_, at, { length }) =>
        at === length - 1 ? address : undefined,
      )
      const picture = {
        id: nextId.current++,
        model: model.name,
        title: file.name,
        scales,
        fraction: 1,
        note: '',
      }
      dispatch({
        kind: 'add',
        pictures: [{ ...picture, state: 'done', origin: { kind: 'file', name: file.name } }],
      })
    },
    [request],
  )

  /** Takes a picture off the page, and gives its request up where nobody else waits for it. */
  const remove = useCallback((id: number) => {
    const controller = requests.current.get(id)
    requests.current.delete(id)
    if (controller && ![...requests.current.values()].includes(controller)) controller.abort()
    dispatch({ kind: 'remove', id })
  }, [])

  return { pictures, request, open, remove }
}

/** The recipe that a file is or has. */
async function recipeIn(file: File): Promise<Recipe | undefined> {
  if (file.type === 'application/json' || file.name.endsWith('.json'))
    return RecipeSchema.parse(JSON.parse(await file.text()))
  if (file.type !== 'image/png') return undefined
  try {
    return RecipeSchema.parse(await readRecipe(file))
  } catch (error) {
    if (error instanceof Refusal && error.error.code === 'RECIPE_INVALID') return undefined
    throw error
  }
}

/** The middle square of a picture file, at the model's size. */
async function fitted(file: File, side: number): Promise<string> {
  const bitmap = await createImageBitmap(file)
  const square = Math.min(bitmap.width, bitmap.height)
  const canvas = Object.assign(document.createElement('canvas'), { width: side, height: side })
  const context = canvas.getContext('2d')!
  context.imageSmoothingQuality = 'high'
  context.fillStyle = '#fff'
  context.fillRect(0, 0, side, side)
  const [left, top] = [(bitmap.width - square) / 2, (bitmap.height - square) / 2]
  context.drawImage(bitmap, left, top, square, square, 0, 0, side, side)
  return canvas.toDataURL('image/png')
}
