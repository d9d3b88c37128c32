import { ReflectionKind, Renderer } from 'typedoc'

/** Names the site's documents by their first headings instead of their files. */
export function load(app) {
  app.renderer.on(Renderer.EVENT_BEGIN, ({ project }) => {
    for (const document of project.getReflectionsByKind(ReflectionKind.Document)) {
      const first = document.content.find(({ kind }) => kind === 'text')
      const title = first?.text.match(/^# (.+)/m)?.[1]
      if (title) document.name = title.replaceAll('`', '')
    }
  })
}
