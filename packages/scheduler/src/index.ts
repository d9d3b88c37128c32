export type { Pass } from '@hmar/core'
