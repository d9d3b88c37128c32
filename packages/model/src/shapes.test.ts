import { describe, expect, it } from 'vitest'

import { embeddedModel } from './shapes.js'

const failing = (code: string, message: string) => async () => {
  throw Object.assign(new Error(message), { code })
}

describe('embeddedModel', () => {
  it('says what to install where the package is missing', async () => {
    const missing = failing('ERR_MODULE_NOT_FOUND', "Cannot find package '@hmar/shapes' imported from here")
    await expect(embeddedModel(missing)).rejects.toMatchObject({
      code: 'PACKAGE_MISSING',
      message: expect.stringContaining('npm install @hmar/shapes'),
    })
  })

  it('does not hide another failure', async () => {
    const broken = failing('ERR_MODULE_NOT_FOUND', "Cannot find package 'something-else' imported from here")
    await expect(embeddedModel(broken)).rejects.toThrow('something-else')
  })
})
