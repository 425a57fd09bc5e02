import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { dirname } from 'node:path'
import { before, describe, test, type TestContext } from 'node:test'
import { parse, parseAllDocuments } from 'yaml'
import { serveHealth } from '../../agent/listen.ts'
import { createKubernetesSource } from '../../agent/strategies/kubernetes.ts'
import { parseConfig } from '../../core/config.ts'
import { kubernetesKinds, kubernetesOptionsSchema, type KubernetesResource } from '../../core/sources/kubernetes.ts'
import { createFakeLog } from '../agent/fakes.ts'
import { type Asked, startKubernetesServer } from '../agent/strategies/kubernetes-server.ts'

const FOLDER = new URL('../../infra/kubernetes/', import.meta.url)
const DOCKERFILE = new URL('../../infra/docker/Dockerfile', import.meta.url)
const ENV = { RELEASE_COOKIE: 'secret' }

/** What a test reads of an object of Kubernetes. */
interface Manifest {
  readonly kind: string
  readonly metadata: { readonly name: string }
  readonly rules: { readonly apiGroups: string[]; readonly resources: string[]; readonly verbs: string[] }[]
  readonly subjects: { readonly kind: string; readonly name: string }[]
  readonly roleRef: { readonly kind: string; readonly name: string }
  readonly spec: object
}

interface Container {
  readonly name: string
  readonly args: string[]
  readonly env: {
    readonly name: string
    readonly value?: string
    readonly valueFrom?: Record<string, Record<string, string>>
  }[]
  readonly ports: { readonly name: string; readonly containerPort: number }[]
  readonly livenessProbe: Probe
  readonly readinessProbe: Probe
  readonly lifecycle: {
    readonly preStop: { readonly exec?: { readonly command: string[] }; readonly sleep?: { readonly seconds: number } }
  }
  readonly securityContext: Record<string, unknown>
  readonly volumeMounts: { readonly name: string; readonly mountPath: string }[]
}

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string }
}

interface PodSpec {
  readonly serviceAccountName: string
  readonly securityContext: { readonly runAsNonRoot: boolean }
  readonly containers: Container[]
  readonly volumes: { readonly name: string; readonly configMap?: { readonly name: string } }[]
}

interface Kustomization {
  readonly namespace: string
  readonly resources: string[]
  readonly configMapGenerator: { readonly name: string; readonly files: string[] }[]
}

let kustomization: Kustomization
let manifests: Manifest[]
let config: ReturnType<typeof parseConfig>
let dockerfile: string

before(async () => {
  const read = (file: string) => readFile(new URL(file, FOLDER), 'utf8')
  kustomization = parse(await read('kustomization.yaml')) as Kustomization
  const texts = await Promise.all(kustomization.resources.map(read))
  manifests = texts.flatMap((text) => parseAllDocuments(text).map((document) => document.toJS() as Manifest))
  config = parseConfig(parse(await read('rollcall.yaml')), { file: 'rollcall.yaml', env: ENV })
  dockerfile = await readFile(DOCKERFILE, 'utf8')
})

function manifest(kind: string): Manifest {
  const found = manifests.filter((each) => each.kind === kind)
  assert.equal(found.length, 1, `expected one ${kind}`)
  return found[0] as Manifest
}

function podSpec(): PodSpec {
  return (manifest('Deployment').spec as { template: { spec: PodSpec } }).template.spec
}

function container(name: string): Container {
  return podSpec().containers.find((each) => each.name === name) ?? assert.fail(`expected a container ${name}`)
}

function sourceOptions(): Record<string, unknown> {
  const [source, ...others] = Object.values(config.topologies).flatMap(({ sources }) => sources)
  assert.deepEqual([source?.kind, others], ['kubernetes', []])
  return source?.options ?? {}
}

/** What a Role must allow for these requests, one line for each. */
function needed(asked: readonly Asked[]): string[] {
  return asked.map(({ verb, path }) => {
    const [, group = '', resource] = /^\/(?:api|apis\/([^/]+))\/v1\/namespaces\/[^/]+\/([^/]+)$/.exec(path) ?? []
    return `${verb} ${resource}.${group}`
  })
}

function allowed({ rules }: Manifest): string[] {
  return rules.flatMap(({ apiGroups, resources, verbs }) =>
    apiGroups.flatMap((group) => resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}.${group}`))),
  )
}

/** The requests of a source that lists and watches. */
async function requestsOf(t: TestContext, given: Record<string, unknown>): Promise<Asked[]> {
  const resource = (given.resource ?? 'endpointslices') as KubernetesResource
  const server = await startKubernetesServer({ resource, namespace: 'default' })
  t.after(() => server.close())
  const options = kubernetesOptionsSchema.parse({ ...given, namespace: 'default', server: server.url })
  const ended = new AbortController()
  t.after(() => ended.abort())
  const context = {
    source: 'k',
    self: 'app@10.0.0.1',
    signal: ended.signal,
    now: Date.now,
    log: createFakeLog(),
    fetch,
  }
  const stream = createKubernetesSource().watch?.(options, context)[Symbol.asyncIterator]()
  await stream?.next()
  await server.requests(2)
  return server.asked
}

describe('the manifests for Kubernetes', () => {
  test('are all in the kustomization', async () => {
    const named = [...kustomization.resources, ...kustomization.configMapGenerator.flatMap(({ files }) => files)]
    assert.deepEqual((await readdir(FOLDER)).sort(), [...named, 'kustomization.yaml'].sort())
  })

  test('allow what the source asks for, and nothing else', async (t) => {
    const asked = await requestsOf(t, sourceOptions())
    assert.deepEqual(allowed(manifest('Role')).sort(), [...new Set(needed(asked))].sort())
  })

  test('say in a comment what the other resources need', async (t) => {
    const comment = (await readFile(new URL('rbac.yaml', FOLDER), 'utf8')).replaceAll(/\n# /g, ' ')
    for (const resource of ['pods', 'endpoints'] as const) {
      const [, watched] = needed(await requestsOf(t, { resource, selector: 'app=app' }))
      assert.equal(watched, `watch ${resource}.${kubernetesKinds[resource].group}`)
      assert.ok(comment.includes(`\`resource: ${resource}\` the group is "" and the resource ${resource}`), comment)
    }
  })

  test('give the Role to the account of the pods, in their namespace', () => {
    const { subjects, roleRef } = manifest('RoleBinding')
    assert.deepEqual(subjects, [{ kind: 'ServiceAccount', name: podSpec().serviceAccountName }])
    assert.equal(manifest('ServiceAccount').metadata.name, podSpec().serviceAccountName)
    assert.deepEqual([roleRef.kind, roleRef.name], ['Role', manifest('Role').metadata.name])
    // Without one the subject has none, and the API server refuses it.
    assert.match(kustomization.namespace, /./)
  })

  test('list the pods of the deployment by a headless service, ready or not', () => {
    const { metadata, spec } = manifest('Service')
    const service = spec as { clusterIP: string; publishNotReadyAddresses: boolean; selector: object }
    const deployment = manifest('Deployment').spec as {
      selector: { matchLabels: object }
      template: { metadata: { labels: object } }
    }
    assert.deepEqual([service.clusterIP, service.publishNotReadyAddresses], ['None', true])
    assert.deepEqual(service.selector, deployment.template.metadata.labels)
    assert.deepEqual(deployment.selector.matchLabels, deployment.template.metadata.labels)
    assert.equal(sourceOptions().service, metadata.name)
  })

  test('name each node by the address under which the source lists it, in both containers alike', () => {
    for (const name of ['app', 'rollcall']) {
      const { env } = container(name)
      const names = env.map((each) => each.name)
      const value = (wanted: string) => env.find((each) => each.name === wanted)
      assert.equal(value('RELEASE_NODE')?.value, 'app@$(POD_IP)')
      // Only what stands before it is replaced in it.
      assert.ok(names.indexOf('POD_IP') < names.indexOf('RELEASE_NODE'))
      assert.equal(value('POD_IP')?.valueFrom?.fieldRef?.fieldPath, 'status.podIP')
      assert.equal(typeof value('RELEASE_COOKIE')?.valueFrom?.secretKeyRef?.name, 'string')
    }
    assert.equal(sourceOptions().host, 'ip')
    assert.deepEqual(config.distribution, {
      beam: { ...(config.distribution as { beam: object }).beam, mode: 'sidecar', cookie: 'secret' },
    })
  })

  test('probe the agent where the kubelet reaches it', async (t) => {
    const { livenessProbe, readinessProbe, ports } = container('rollcall')
    const [, host = '', port] = /^(.+):(\d+)$/.exec(config.agent.listen ?? '') ?? []
    assert.deepEqual([livenessProbe.httpGet.path, readinessProbe.httpGet.path], ['/healthz', '/readyz'])
    for (const { httpGet } of [livenessProbe, readinessProbe]) {
      assert.equal(ports.find(({ name }) => name === httpGet.port)?.containerPort, Number(port))
    }
    const ended = new AbortController()
    const view = {
      plan: () => undefined,
      links: () => new Set<string>(),
      missing: () => [],
      on: () => () => undefined,
      leave: async () => undefined,
    }
    const { url, closed } = await serveHealth(`${host}:0`, { view, signal: ended.signal })
    t.after(async () => {
      ended.abort()
      await closed
    })
    // As the kubelet asks: by the address of the pod.
    const status = await new Promise((resolve, reject) => {
      const target = url.replace('0.0.0.0', '127.0.0.1')
      const asked = request(`${target}/healthz`, { headers: { Host: `10.1.2.3:${port}` }, agent: false }, (answer) => {
        answer.resume()
        resolve(answer.statusCode)
      })
      asked.on('error', reject).end()
    })
    assert.equal(status, 200)
  })

  test('take the node out of the mesh before it ends, by a command that the image has', () => {
    assert.deepEqual(container('rollcall').lifecycle.preStop.exec?.command, ['rollcall', 'leave'])
    assert.deepEqual(container('rollcall').args, ['agent'])
    // The node must be there still.
    assert.ok((container('app').lifecycle.preStop.sleep?.seconds ?? 0) > 0)
    assert.match(dockerfile, /ln -s \S+\/cli\.js \/usr\/local\/bin\/rollcall/)
  })

  test('mount the config where the image looks for it, and the state where it can be written', () => {
    const [generator] = kustomization.configMapGenerator
    const { volumeMounts, securityContext } = container('rollcall')
    const { volumes } = podSpec()
    const mounted = (path: string) =>
      volumes.find(({ name }) => name === volumeMounts.find(({ mountPath }) => mountPath === path)?.name)
    const workdir = /^WORKDIR (\S+)$/m.exec(dockerfile.slice(dockerfile.lastIndexOf('\nFROM ')))?.[1] ?? ''
    assert.deepEqual(generator?.files, ['rollcall.yaml'])
    assert.equal(mounted(workdir)?.configMap?.name, generator?.name)
    assert.ok(mounted(dirname(config.agent.state ?? '')))
    assert.equal(securityContext.readOnlyRootFilesystem, true)
  })

  test('run nothing as root, and the image says so by number', () => {
    assert.equal(podSpec().securityContext.runAsNonRoot, true)
    assert.match(dockerfile.split('\n').findLast((line) => line.startsWith('USER ')) ?? '', /^USER [1-9]\d*(:\d+)?$/)
  })
})
