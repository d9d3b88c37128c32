import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** How a server misbehaves. */
export interface Faults {
  /** Answers with it instead of a file. */
  status?: number
  /** Breaks off after so many bytes, once for each number. */
  breaks?: number[]
  /** Sends whole files, whatever part is asked for. */
  ignoresRanges?: boolean
  /** Sends other bytes than it says. */
  damaged?: boolean
  /** Sends files from another origin. */
  elsewhere?: string
  /** Says that its branch is at this commit. */
  commit?: string
  /** States this licence. */
  license?: string
}

/** A stand-in for the Hugging Face hub on this machine, with what of it downloads need. */
export class HubServer {
  readonly faults: Faults = {}
  /** `GET /path`, with the range and the authorization where they are sent. */
  readonly requests: { line: string; range?: string | undefined; token?: string | undefined }[] = []
  readonly commit = createHash('sha1').update('main').digest('hex')
  readonly #server = createServer((request, response) => void this.#answer(request, response))

  private constructor(private readonly files: Readonly<Record<string, Buffer>>) {}

  /** @param files - contents by `<owner>/<repository>/<file>` */
  static async start(files: Readonly<Record<string, Buffer>>): Promise<HubServer> {
    const hub = new HubServer(files)
    hub.#server.listen(0, '127.0.0.1')
    await once(hub.#server, 'listening')
    return hub
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** The requests for files, not for what is said about them. */
  get transfers() {
    return this.requests.filter(({ line }) => line.includes('/resolve/'))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
  }

  async #answer(request: IncomingMessage, response: ServerResponse) {
    const url = decodeURIComponent(request.url!.split('?')[0]!)
    const { range, authorization } = request.headers
    this.requests.push({ line: `${request.method} ${url}`, range, token: authorization })
    const { status, elsewhere } = this.faults
    const [, api, repository, what] =
      /^(\/api\/models)?\/([^/]+\/[^/]+)\/(?:revision|paths-info|resolve)\/[^/]+(?:\/(.+))?$/.exec(url) ?? []
    if (status !== undefined || repository === undefined)
      return response.writeHead(status ?? 404, { 'content-type': 'application/json' }).end('{"error":"no"}')
    if (api === undefined) {
      if (elsewhere) return response.writeHead(302, { location: `${elsewhere}${request.url}` }).end()
      return this.#send(this.files[`${repository}/${what}`], range, response)
    }
    response.setHeader('content-type', 'application/json')
    if (request.method === 'GET') return response.end(JSON.stringify(this.#describe(repository)))
    const { paths } = JSON.parse(Buffer.concat(await request.toArray()).toString()) as { paths: string[] }
    response.end(JSON.stringify(paths.flatMap((path) => this.#describeFile(repository, path))))
  }

  #describe(repository: string) {
    const sha = this.faults.commit ?? this.commit
    const license_name = this.faults.license ?? 'house-rules'
    return { _id: '0', id: repository, sha, cardData: { license: 'other', license_name } }
  }

  #describeFile(repository: string, path: string) {
    const content = this.files[`${repository}/${path}`]
    if (content === undefined) return []
    const size = content.length
    const oid = createHash('sha1').update(`blob ${size}\0`).update(content).digest('hex')
    const sha256 = createHash('sha256').update(content).digest('hex')
    const lfs = path.endsWith('.pth') ? { oid: sha256, size, pointerSize: 134 } : undefined
    return [{ type: 'file', path, oid, size, lfs }]
  }

  #send(content: Buffer | undefined, range: string | undefined, response: ServerResponse) {
    if (content === undefined) return response.writeHead(404).end()
    const { ignoresRanges, damaged, breaks } = this.faults
    const start = ignoresRanges ? 0 : Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0)
    const bytes = Buffer.from(content.subarray(start))
    if (damaged) bytes[0]! ^= 1
    const part = { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` }
    response.writeHead(start > 0 ? 206 : 200, { 'content-length': bytes.length, ...(start > 0 && part) })
    const end = breaks?.shift()
    if (end === undefined) return response.end(bytes)
    response.write(bytes.subarray(0, end), () => response.destroy())
  }
}
