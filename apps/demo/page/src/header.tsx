import type { ModelDescription } from '@hmar/server'

interface Properties {
  readonly models: readonly ModelDescription[]
  readonly model: ModelDescription | undefined
  readonly choose: (name: string) => void
}

export function Header({ models, model, choose }: Properties) {
  return (
    <header>
      <img src="/logo.svg" alt="" width="34" height="34" />
      <div class="name">
        <h1>HMAR</h1>
        <p>Pictures, scale by scale</p>
      </div>
      {model && (
        <div class="model">
          <label>
            <span>Model</span>
            <select value={model.name} onChange={({ currentTarget }) => choose(currentTarget.value)}>
              {models.map(({ name }) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
          <p>
            {model.side}×{model.side} pixels, {model.config.classes} classes, {model.arithmetic.dtype} on{' '}
            {model.arithmetic.device}
          </p>
        </div>
      )}
    </header>
  )
}
