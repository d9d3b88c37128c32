import { describe, expect, it } from 'vitest'

import { classNames, labelName, parseLabels, searchLabels } from './labels.js'

const imagenet = { classes: 1000 }
const shapes = { classes: 3, labels: ['disk', 'square', 'star'] }

describe('the labels of ImageNet', () => {
  const names = classNames(imagenet)

  it('are 1000, each with a first name of its own', () => {
    expect(names).toHaveLength(1000)
    expect(new Set(names.map(([first]) => first)).size).toBe(1000)
  })

  it.each([
    [0, 'tench'],
    [1, 'goldfish'],
    [99, 'goose'],
    [151, 'Chihuahua'],
    [207, 'golden retriever'],
    [281, 'tabby'],
    [388, 'giant panda'],
    [417, 'balloon'],
    [510, 'container ship'],
    [609, 'jeep'],
    [701, 'parachute'],
    [812, 'space shuttle'],
    [849, 'teapot'],
    [933, 'cheeseburger'],
    [948, 'Granny Smith'],
    [970, 'alp'],
    [980, 'volcano'],
    [999, 'toilet tissue'],
  ])('call %i %s', (label, name) => {
    expect(labelName(imagenet, label)).toBe(name)
    expect(parseLabels([name], imagenet)).toEqual([label])
  })
})

describe('parseLabels', () => {
  it('takes numbers, names and the unconditional class, by commas and one after another', () => {
    expect(parseLabels(['star, 1', 'none'], shapes)).toEqual([2, 1, null])
  })

  it('takes any name of a class, however it is spelt', () => {
    expect(parseLabels(['Golden-Retriever', 'killer_whale', 'GRANNY SMITH'], imagenet)).toEqual([
      207, 148, 948,
    ])
  })

  it.each(['3', '-1', '1.5', '1e9', 'Infinity', '', 'star,'])("refuses '%s'", (text) => {
    expect(() => parseLabels([text], shapes)).toThrow(RangeError)
  })

  it('names the nearest where a name is unknown', () => {
    expect(() => parseLabels(['sqare'], shapes)).toThrow('Did you mean "square"?')
    expect(() => parseLabels(['golden retreiver'], imagenet)).toThrow('Did you mean "golden retriever"?')
  })

  it('refuses a name of two classes and says which they are', () => {
    expect(() => parseLabels(['crane'], imagenet)).toThrow(/Several.*134.*517/)
  })
})

describe('a search', () => {
  const found = (text: string, most?: number) =>
    searchLabels(text, imagenet, most).map(({ names }) => names[0])

  it('puts names that begin with the words first, in any case', () => {
    expect(found('GOLD', 3)).toEqual(['goldfish', 'goldfinch', 'golden retriever'])
    expect(found('retriever', 2)).toEqual(['flat-coated retriever', 'curly-coated retriever'])
  })

  it('finds second names, letters within a word and numbers', () => {
    expect(found('Canis lupus', 1)).toEqual(['timber wolf'])
    expect(found('aguar')).toContain('jaguar')
    expect(searchLabels('207', imagenet, 1)).toEqual([{ label: 207, names: ['golden retriever'] }])
  })

  it('finds all with nothing, and none that is not there', () => {
    expect(searchLabels('', shapes).map(({ label }) => label)).toEqual([0, 1, 2])
    expect(searchLabels('', { classes: 2 })).toEqual([
      { label: 0, names: [] },
      { label: 1, names: [] },
    ])
    expect(searchLabels('hexagon', shapes)).toEqual([])
  })
})
