export { download } from './download.js'
export { requireConsent, requireSomebody } from './license-consent.js'
export { pullables } from './pullable.js'
export { describeRemoteFile } from './remote-file.js'
