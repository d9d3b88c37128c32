export * from './fake-binding.js'
export * from './goldens.js'
