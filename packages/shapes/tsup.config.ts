import { library } from '../../tsup.base.js'

// `shims`: the CommonJS build finds the weights beside it too.
export default library({ shims: true })
