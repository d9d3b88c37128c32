import { inspectDevices } from '@hmar/native'
import { Command } from 'commander'

import type { Context } from '../context.js'

export const devicesCommand = ({ output }: Context) =>
  new Command('devices')
    .description('Lists what can compute here, and why the rest cannot.')
    .addHelpText('after', '\nExamples:\n  hmar devices\n  hmar devices --json')
    .action(() => {
      const devices = inspectDevices()
      const lines = devices.map(({ id, name, available, reason, threads, features }) => {
        const what = available ? [threads && `${threads} threads`, ...features] : [`not available: ${reason}`]
        return `${id.padEnd(8)} ${name}\n         ${what.filter(Boolean).join(', ')}`
      })
      output.result(devices, lines.join('\n'))
    })
