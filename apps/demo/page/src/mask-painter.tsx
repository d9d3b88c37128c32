import { useEffect, useRef, useState } from 'preact/hooks'

import type { Mask, Point } from './mask'

interface Properties {
  readonly mask: Mask
  /** Pixels from the brush's middle to its edge. */
  readonly radius: number
  readonly erases: boolean
  /** Called after each stroke. */
  readonly painted: () => void
  /** Changes when somebody else changed the mask. */
  readonly version: number
}

const colour = (value: number) => (value === 1 ? [232, 73, 15, 150] : [0, 0, 0, 0])

/** A layer over a picture on which the part to be drawn anew is painted: by pointer, or with arrows and space. */
export function MaskPainter({ mask, radius, erases, painted, version }: Properties) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const [brush, setBrush] = useState<Point>({ x: mask.side / 2, y: mask.side / 2 })
  const [focused, setFocused] = useState(false)
  const last = useRef<Point | undefined>(undefined)
  const value = erases ? 0 : 1

  useEffect(() => {
    mask.paint(canvas.current!.getContext('2d')!, colour)
  }, [mask, version])

  const place = ({ clientX, clientY }: PointerEvent): Point => {
    const { left, top, width } = canvas.current!.getBoundingClientRect()
    return { x: ((clientX - left) / width) * mask.side, y: ((clientY - top) / width) * mask.side }
  }
  const stroke = (to: Point) => {
    mask.stroke(last.current ?? to, to, radius, value)
    last.current = to
    painted()
  }
  const onKeyDown = (event: KeyboardEvent) => {
    const step = Math.max(1, Math.round(mask.side / 32)) * (event.shiftKey ? 4 : 1)
    const moves: Record<string, readonly [number, number]> = {
      ArrowLeft: [-step, 0],
      ArrowRight: [step, 0],
      ArrowUp: [0, -step],
      ArrowDown: [0, step],
    }
    const move = moves[event.key]
    if (move) {
      const within = (at: number) => Math.min(Math.max(at, 0), mask.side)
      setBrush({ x: within(brush.x + move[0]), y: within(brush.y + move[1]) })
    } else if (event.key === ' ' || event.key === 'Enter') {
      mask.stroke(brush, brush, radius, value)
      painted()
    } else return
    event.preventDefault()
  }

  return (
    <div class="painter">
      <canvas
        ref={canvas}
        width={mask.side}
        height={mask.side}
        tabIndex={0}
        role="application"
        aria-label="Mask: arrow keys move the brush, space paints"
        onFocus={() => setFocused(true)}
        onBlur={() => setFocused(false)}
        onKeyDown={onKeyDown}
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId)
          stroke(place(event))
        }}
        onPointerMove={(event) => {
          const at = place(event)
          setBrush(at)
          if (last.current) stroke(at)
        }}
        onPointerUp={() => {
          last.current = undefined
        }}
        onPointerCancel={() => {
          last.current = undefined
        }}
      />
      <span
        class={focused ? 'brush focused' : 'brush'}
        aria-hidden="true"
        style={{
          left: `${(100 * brush.x) / mask.side}%`,
          top: `${(100 * brush.y) / mask.side}%`,
          width: `${(200 * radius) / mask.side}%`,
        }}
      />
    </div>
  )
}
