import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { HmarError, releasedWeights } from '@hmar/core'
import { hubCacheFolder } from '@hmar/native'
import { getHFHubCachePath, scanCacheDir } from '@huggingface/hub'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { Interrupted } from '../exit-code.js'
import { describeRemoteFile, download } from '../hub/index.js'
import { hmar } from '../testing/hmar.js'
import { HubServer } from '../testing/hub-server.js'

const model = randomBytes(3_000_000)
const tokenizer = randomBytes(200_000)
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
/** Buffers of megabytes are compared by it: what `toEqual` says about them takes minutes. */
const sumOf = async (path: string) => sha256(await readFile(path))
const here = { repository: 'nvidia/HMAR', file: 'hmar-d16.pth' }
const accepted = ['pull', 'hmar-d16', '--accept-license']

let hub: HubServer
let folder: string
beforeEach(async () => {
  hub = await HubServer.start({
    'nvidia/HMAR/hmar-d16.pth': model,
    'nvidia/HMAR/README.md': Buffer.from('read me'),
    'FoundationVision/var/vae_ch160v4096z32.pth': tokenizer,
  })
  folder = await mkdtemp(join(tmpdir(), 'hmar-pull-'))
  vi.stubEnv('HF_ENDPOINT', `${hub.url}/`)
  vi.stubEnv('HF_HUB_CACHE', join(folder, 'hub'))
  vi.stubEnv('HF_TOKEN', '')
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await hub[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

const repository = () => join(folder, 'hub', 'models--nvidia--HMAR')
const blobsFolder = () => join(repository(), 'blobs')
const blobs = () => readdir(blobsFolder())
const snapshot = () => join(repository(), 'snapshots', hub.commit, 'hmar-d16.pth')

/** Downloads the model alone, giving up early. */
async function fetchModel(signal = new AbortController().signal, onBytes?: (bytes: number) => void) {
  const remote = await describeRemoteFile(here, signal)
  const onProgress = ({ doneBytes }: { doneBytes: number }) => onBytes?.(doneBytes)
  return download(remote, { signal, onProgress, tries: 2, pause: 1 })
}
/** Where a transfer began. */
const startOf = ({ range }: { range?: string | undefined }) =>
  Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0)
const failure = (code: string) => expect.objectContaining({ code })

describe('hmar pull', () => {
  it('keeps a model and its tokenizer where and as Hugging Face’s tools do', async () => {
    const { code, stdout, stderr } = await hmar(accepted)
    expect(stderr).toContain('hmar-d16.pth: NVIDIA One-Way Noncommercial License.')
    expect(stderr).toContain('vae_ch160v4096z32.pth: MIT.')
    expect(code).toBe(0)
    expect(stdout).toContain(snapshot())
    expect(await sumOf(snapshot())).toBe(sha256(model))
    expect(await readlink(snapshot())).toBe(join('..', '..', 'blobs', sha256(model)))
    const { repos, warnings } = await scanCacheDir(join(folder, 'hub'))
    expect(warnings).toEqual([])
    expect(
      repos.map(({ id, revisions }) => [id.name, revisions[0]?.refs, revisions[0]?.files.length]).sort(),
    ).toEqual([
      ['FoundationVision/var', ['main'], 1],
      ['nvidia/HMAR', ['main'], 1],
    ])
  })

  it('looks for the cache where Hugging Face’s tools do', () => {
    expect(hubCacheFolder()).toBe(getHFHubCachePath())
    for (const name of ['HUGGINGFACE_HUB_CACHE', 'HF_HOME', 'XDG_CACHE_HOME']) {
      vi.stubEnv('HF_HUB_CACHE', undefined)
      vi.stubEnv(name, join(folder, name))
      expect(hubCacheFolder()).toBe(getHFHubCachePath())
      expect(hubCacheFolder()).toContain(folder)
      vi.stubEnv(name, undefined)
    }
    expect(hubCacheFolder()).toBe(getHFHubCachePath())
  })

  it('transfers nothing that is there already', async () => {
    await hmar(accepted)
    const before = hub.transfers.length
    expect(await hmar(accepted)).toMatchObject({ code: 0 })
    expect(hub.transfers).toHaveLength(before)
  })

  it('is what --model finds by its name, and says how to get what is not there', async () => {
    const generate = ['generate', '--model', 'hmar-d16', '--label', '207', '--out', join(folder, 'out')]
    const missing = await hmar(generate)
    expect(missing.stderr).toContain('npx @hmar/cli pull hmar-d16')
    await hmar(accepted)
    // Random bytes: the file is found, and is no checkpoint.
    expect((await hmar(generate)).stderr).toContain(`${snapshot()} is`)
    expect((await hmar(['info', 'hmar-d16'])).stderr).toContain(`${snapshot()} is`)
  })

  it('takes any file of a repository, with the licence that it states', async () => {
    const { code, stderr } = await hmar(['pull', 'nvidia/HMAR/README.md', '--accept-license'])
    expect(code).toBe(0)
    expect(stderr).toContain('README.md: house-rules')
    const path = join(repository(), 'snapshots', hub.commit, 'README.md')
    expect(await readFile(path, 'utf8')).toBe('read me')
  })

  it('prints nothing of a hub that would steer the terminal', async () => {
    hub.faults.license = 'free\u001b[2J'
    const { code, stderr } = await hmar(['pull', 'nvidia/HMAR/README.md', '--accept-license'])
    expect(code).toBe(0)
    expect(stderr).toContain('README.md: no licence is stated')
  })

  it.each(['hmar-d17', 'nvidia/HMAR', 'nvidia/HMAR/../../x', 'https://a.b/c/d', '/etc/passwd/x', ''])(
    'refuses %j, and lists the names',
    async (word) => {
      const { code, stderr } = await hmar(['pull', word, '--accept-license'])
      expect(code).toBe(2)
      for (const { name } of releasedWeights) expect(stderr).toContain(name)
      expect(hub.requests).toEqual([])
    },
  )
})

describe('the licence', () => {
  it('has to be accepted before anything is asked for', async () => {
    const { code, stderr } = await hmar(['pull', 'hmar-d16'])
    expect(code).toBe(1)
    expect(stderr).toContain('NVIDIA One-Way Noncommercial License, MIT')
    expect(stderr).toContain('--accept-license')
    expect(hub.requests).toEqual([])
    const { stdout } = await hmar(['pull', 'hmar-d16', '--json'])
    expect(JSON.parse(stdout).error.code).toBe('LICENSE_NOT_ACCEPTED')
  })

  it.each(['y\n', 'YES\n'])('is accepted at the terminal with %j', async (typed) => {
    const { code, stderr } = await hmar(['pull', 'hmar-d16'], undefined, typed)
    expect(stderr).toContain('Do you accept these licences? [y/N]')
    expect(code).toBe(0)
    expect(await sumOf(snapshot())).toBe(sha256(model))
  })

  it.each(['n\n', '\n', 'yesterday\n', ''])('is not accepted with %j', async (typed) => {
    const { code, stderr } = await hmar(['pull', 'hmar-d16'], undefined, typed)
    expect(code).toBe(1)
    expect(stderr).toContain('another answer than yes')
    expect(hub.transfers).toEqual([])
  })
})

describe('a download', () => {
  it('goes on where the connection broke', async () => {
    hub.faults.breaks = [1_000_000, 500_000]
    const done: number[] = []
    expect(await sumOf(await fetchModel(undefined, (bytes) => done.push(bytes)))).toBe(sha256(model))
    const [first, second, third] = hub.transfers.map(startOf)
    // What was on its way when the connection broke may be lost with it.
    expect(hub.transfers).toHaveLength(3)
    expect(first).toBe(0)
    expect(second).toSatisfy((start: number) => start > 0 && start <= 1_000_000)
    expect(third).toSatisfy((start: number) => start > second! && start <= second! + 500_000)
    expect(done).toEqual([...done].sort((a, b) => a - b))
    expect(done.at(-1)).toBe(model.length)
  })

  it('goes on in the next run, after giving up', async () => {
    hub.faults.breaks = [1_000_000, 0]
    await expect(fetchModel()).rejects.toEqual(failure('HUB_UNREACHABLE'))
    const left = `${sha256(model)}.incomplete`
    expect(await blobs()).toEqual([left])
    const { size } = await stat(join(blobsFolder(), left))
    expect(size).toBeGreaterThan(0)
    expect(await sumOf(await fetchModel())).toBe(sha256(model))
    expect(startOf(hub.transfers.at(-1)!)).toBe(size)
    expect(await blobs()).toEqual([sha256(model)])
  })

  it('begins again where the server does not send parts', async () => {
    Object.assign(hub.faults, { breaks: [1_000_000], ignoresRanges: true })
    expect(await sumOf(await fetchModel())).toBe(sha256(model))
    expect(hub.transfers).toHaveLength(2)
  })

  it('is thrown away where its sum is wrong, and comes whole the next time', async () => {
    hub.faults.damaged = true
    await expect(fetchModel()).rejects.toEqual(failure('CHECKSUM_MISMATCH'))
    expect(await blobs()).toEqual([])
    hub.faults.damaged = false
    expect(await sumOf(await fetchModel())).toBe(sha256(model))
  })

  it('is thrown away where what was left of an earlier one is wrong', async () => {
    hub.faults.breaks = [1_000_000, 0]
    await expect(fetchModel()).rejects.toEqual(failure('HUB_UNREACHABLE'))
    const [left] = await blobs()
    await writeFile(join(repository(), 'blobs', left!), randomBytes(1_000_000))
    await expect(fetchModel()).rejects.toEqual(failure('CHECKSUM_MISMATCH'))
    expect(await sumOf(await fetchModel())).toBe(sha256(model))
  })

  it('ends with the reason of an abort, and goes on later', async () => {
    const controller = new AbortController()
    const reason = new Interrupted('SIGINT')
    hub.faults.breaks = [1_000_000]
    const aborted = fetchModel(controller.signal, (bytes) => bytes > 500_000 && controller.abort(reason))
    await expect(aborted).rejects.toBe(reason)
    expect(await sumOf(await fetchModel())).toBe(sha256(model))
    expect(hub.transfers.at(-1)!.range).toMatch(/^bytes=[1-9]\d+-$/)
  })

  it('is not disturbed by another of the same file', async () => {
    const paths = await Promise.all([fetchModel(), fetchModel(), fetchModel()])
    for (const path of paths) expect(await sumOf(path)).toBe(sha256(model))
    expect(await blobs()).toEqual([sha256(model)])
  })

  it.each([
    [401, 'HUB_ACCESS_DENIED', /HF_TOKEN/],
    [403, 'HUB_ACCESS_DENIED', /conditions/],
    [404, 'HUB_FILE_MISSING', /nvidia\/HMAR/],
    [500, 'HUB_UNREACHABLE', /status 500/],
  ])('says what status %i means', async (status, code, message) => {
    const remote = await describeRemoteFile(here, new AbortController().signal)
    hub.faults.status = status
    const options = { signal: new AbortController().signal, tries: 2, pause: 1 }
    for (const failed of [fetchModel(), download(remote, options)]) {
      const error = await failed.catch((error: unknown) => error)
      expect(error).toBeInstanceOf(HmarError)
      expect(error).toEqual(expect.objectContaining({ code, message: expect.stringMatching(message) }))
    }
  })

  it('says that a file or the hub is not there', async () => {
    const ask = (file: string) =>
      describeRemoteFile({ ...here, file }, new AbortController().signal).catch((error) => error)
    expect(await ask('hmar-d99.pth')).toEqual(failure('HUB_FILE_MISSING'))
    await hub[Symbol.asyncDispose]()
    expect(await ask('hmar-d16.pth')).toEqual(failure('HUB_UNREACHABLE'))
  })

  it('does not let a hub choose where files go', async () => {
    hub.faults.commit = '../../../../escaped'
    await expect(fetchModel()).rejects.toEqual(failure('HUB_UNREACHABLE'))
    expect(await readdir(folder)).toEqual([])
  })

  it('sends the token to the hub, and not to where it points', async () => {
    vi.stubEnv('HF_TOKEN', 'hf_secret')
    await using store = await HubServer.start({ 'nvidia/HMAR/hmar-d16.pth': model })
    hub.faults.elsewhere = store.url.replace('127.0.0.1', 'localhost')
    expect(await sumOf(await fetchModel())).toBe(sha256(model))
    expect(hub.requests.map(({ token }) => token)).toEqual(Array(3).fill('Bearer hf_secret'))
    expect(store.requests.map(({ token }) => token)).toEqual([undefined])
  })
})

describe('a cache that cannot be written to', () => {
  it('is named before anything is transferred', async () => {
    await writeFile(join(folder, 'file'), '')
    vi.stubEnv('HF_HUB_CACHE', join(folder, 'file', 'hub'))
    await expect(fetchModel()).rejects.toEqual(failure('FILE_UNWRITABLE'))
    expect(hub.transfers).toEqual([])
  })

  it.skipIf(process.platform === 'win32')('keeps what has arrived when it is full', async () => {
    // A limit on the size of files stands in for a full disk: the write that crosses it fails.
    const bin = fileURLToPath(new URL('../../dist/bin.js', import.meta.url))
    const limited = ['-c', 'ulimit -f 2000; exec "$0" "$@"', process.execPath, bin, ...accepted, '--json']
    const failed = await promisify(execFile)('bash', limited).catch((error) => error)
    expect(failed.code).toBe(1)
    expect(JSON.parse(failed.stdout).error.code).toBe('FILE_UNWRITABLE')
    expect(await blobs()).toEqual([`${sha256(model)}.incomplete`])
    expect(await sumOf(await fetchModel())).toBe(sha256(model))
    expect(hub.transfers.at(-1)!.range).toMatch(/^bytes=[1-9]\d+-$/)
  })
})
