// For a process of its own, from what was built: ends in the middle of a stage, as its arguments say.
import { repeatAllStages } from './all-stages.mjs'

const [, , wanted, delay, ending] = process.argv
const end = {
  exit: () => process.exit(7),
  throw: () => {
    throw new Error('thrown in the middle of work')
  },
  interrupt: () => process.kill(process.pid, 'SIGINT'),
}[ending]
await repeatAllStages((stage) => {
  if (stage === wanted) setTimeout(end, Number(delay))
})
