import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { RollcallError } from '../../core/error.ts'
import {
  kubernetesKinds,
  type KubernetesOptions,
  kubernetesOptionsSchema,
  readEvent,
  readPage,
  selectorsOf,
} from '../../core/sources/kubernetes.ts'
import { familyOf, membersOf, type Naming, readObject } from '../../core/sources/kubernetes-members.ts'
import { outcomeOf } from '../../core/sources/outcome.ts'

function naming(options: Record<string, unknown>, family?: Naming['family']): Naming {
  const parsed = kubernetesOptionsSchema.parse({ service: 'app', ...options })
  return { options: parsed, basename: 'app', namespace: 'web', family }
}

/** What objects say together, in lines: each member with what is special about it, then each flaw. */
function outline(objects: readonly unknown[], options: Record<string, unknown> = {}, family?: Naming['family']) {
  const given = naming(options, family)
  const finding = membersOf(
    objects.map((object) => readObject(object, given)),
    given,
  )
  const { members } = outcomeOf(finding)
  const lines = members.map(({ node, status, id }) =>
    [node, status === 'up' ? '' : status, id].filter(Boolean).join(' '),
  )
  return [...lines, ...finding.flaws.map((flaw) => `! ${flaw.replace('[kubernetes] ', '')}`)]
}

function pod(name: string, uid = `uid-${name}`) {
  return { kind: 'Pod', namespace: 'web', name, uid }
}

// As a kube-controller-manager of 1.31 writes them, without their managedFields.
function slice(endpoints: unknown, { name = 'app-x7k2p', addressType = 'IPv4', service = 'app' } = {}) {
  return {
    metadata: {
      name,
      generateName: 'app-',
      namespace: 'web',
      uid: `slice-${name}`,
      resourceVersion: '48213',
      generation: 7,
      labels: {
        'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
        'kubernetes.io/service-name': service,
        'service.kubernetes.io/headless': '',
      },
      annotations: { 'endpoints.kubernetes.io/last-change-trigger-time': '2026-11-20T10:00:00Z' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Service', name: 'app', uid: 's', controller: true }],
    },
    addressType,
    endpoints,
    ports: [{ name: 'epmd', port: 4369, protocol: 'TCP' }],
  }
}

function endpoint(address: string, target: object | undefined, more: object = {}) {
  return {
    addresses: [address],
    conditions: { ready: true, serving: true, terminating: false },
    ...(target && { targetRef: target }),
    nodeName: 'worker-1',
    zone: 'eu-1a',
    ...more,
  }
}

const A = endpoint('10.0.0.1', pod('app-0'), { hostname: 'app-0' })
const B = endpoint('10.0.0.2', pod('app-1'), { hostname: 'app-1' })
const waiting = { conditions: { ready: false, serving: false, terminating: false } }
const published = { conditions: { ready: true, serving: false, terminating: false } }
const terminating = { conditions: { ready: false, serving: true, terminating: true } }

describe('EndpointSlices', () => {
  const cases: [string, unknown[], Record<string, unknown>, string[]][] = [
    [
      'give one member for each endpoint, with the uid of its pod',
      [slice([A, B])],
      {},
      ['app@10.0.0.1 uid-app-0', 'app@10.0.0.2 uid-app-1'],
    ],
    [
      'may be several, and repeat an endpoint while they are rearranged',
      [slice([A]), slice([A, B], { name: 'app-2' })],
      {},
      ['app@10.0.0.1 uid-app-0', 'app@10.0.0.2 uid-app-1'],
    ],
    ['may have no endpoints', [slice(null), slice(undefined, { name: 'b' }), slice([], { name: 'c' })], {}, []],
    [
      'may have an address without a reference to a pod',
      [slice([endpoint('10.0.0.1', undefined)])],
      {},
      ['app@10.0.0.1'],
    ],
    [
      'may reference something without a uid',
      [slice([endpoint('10.0.0.1', { kind: 'Pod', name: 'p' })])],
      {},
      ['app@10.0.0.1'],
    ],
    [
      'may say nothing about conditions, which is ready',
      [slice([{ addresses: ['10.0.0.1'] }])],
      { notReady: 'skip' },
      ['app@10.0.0.1'],
    ],
    ['list what is not ready', [slice([{ ...A, ...waiting }])], {}, ['app@10.0.0.1 uid-app-0']],
    ['do not when told so', [slice([{ ...A, ...waiting }, B])], { notReady: 'skip' }, ['app@10.0.0.2 uid-app-1']],
    [
      'tell what is not ready though the service publishes it',
      [slice([{ ...A, ...published }, B])],
      { notReady: 'skip' },
      ['app@10.0.0.2 uid-app-1'],
    ],
    [
      'call a terminating pod leaving, whatever its readiness',
      [slice([{ ...A, ...terminating }])],
      { notReady: 'skip' },
      ['app@10.0.0.1 leaving uid-app-0'],
    ],
    [
      'let leaving stand when one of two entries of a pod says so',
      [slice([A]), slice([{ ...A, ...terminating }], { name: 'b' })],
      {},
      ['app@10.0.0.1 leaving uid-app-0'],
    ],
    [
      'let the new pod have the address that the leaving one had',
      [slice([{ ...A, ...terminating }, endpoint('10.0.0.1', pod('app-9'))])],
      {},
      ['app@10.0.0.1 uid-app-9'],
    ],
    [
      'name two pods under one address once, and say so',
      [slice([A, endpoint('10.0.0.1', pod('app-9'))])],
      {},
      ['app@10.0.0.1 uid-app-0', '! app@10.0.0.1 is the name of two pods'],
    ],
    [
      'name pods by their address in DNS',
      [slice([A])],
      { host: 'dns' },
      ['app@10-0-0-1.web.pod.cluster.local uid-app-0'],
    ],
    [
      'name pods by their host name',
      [slice([A])],
      { host: 'hostname' },
      ['app@app-0.app.web.svc.cluster.local uid-app-0'],
    ],
    [
      'take the service of the slice where only a selector is given',
      [slice([A], { service: 'db' })],
      { host: 'hostname', service: undefined, selector: 'a=b' },
      ['app@app-0.db.web.svc.cluster.local uid-app-0'],
    ],
    [
      'use the given cluster domain',
      [slice([A])],
      { host: 'hostname', clusterDomain: 'corp.example' },
      ['app@app-0.app.web.svc.corp.example uid-app-0'],
    ],
    [
      'use the given cluster domain in DNS names',
      [slice([A])],
      { host: 'dns', clusterDomain: 'corp.example' },
      ['app@10-0-0-1.web.pod.corp.example uid-app-0'],
    ],
    [
      'leave out a pod without a host name, and say so',
      [slice([endpoint('10.0.0.9', pod('job')), B])],
      { host: 'hostname' },
      [
        'app@app-1.app.web.svc.cluster.local uid-app-1',
        '! "app-x7k2p": pod "job" has no hostname, as the pods of a StatefulSet have',
      ],
    ],
    [
      'write IPv6 in RFC 5952 form',
      [slice([endpoint('FD00:0:0:0::5', pod('p'))], { addressType: 'IPv6' })],
      {},
      ['app@fd00::5 uid-p'],
    ],
    [
      'write IPv6 in DNS with dashes',
      [slice([endpoint('fd00::5', pod('p'))], { addressType: 'IPv6' })],
      { host: 'dns' },
      ['app@fd00--5.web.pod.cluster.local uid-p'],
    ],
    [
      'leave out an address that is none',
      [slice([endpoint('10.0.0.1\u0000', pod('p')), endpoint('db.example', pod('q')), B], { addressType: 'FQDN' })],
      {},
      [
        'app@10.0.0.2 uid-app-1',
        '! "app-x7k2p": pod "p" has "10.0.0.1\\u0000", which is no IP address',
        '! "app-x7k2p": pod "q" has "db.example", which is no IP address',
      ],
    ],
    [
      'leave out an endpoint without addresses',
      [slice([{ addresses: [] }, { addresses: null }, {}, B])],
      {},
      ['app@10.0.0.2 uid-app-1', '! "app-x7k2p": an address has "", which is no IP address'],
    ],
    [
      'leave out what is no endpoint',
      [slice([null, 5, 'x', [], B])],
      {},
      ['app@10.0.0.2 uid-app-1', '! "app-x7k2p": an address has "", which is no IP address'],
    ],
    [
      'leave out a host name that makes no node name',
      [slice([endpoint('10.0.0.1', pod('p'), { hostname: 'a@b' })])],
      { host: 'hostname' },
      ['! "app-x7k2p": pod "p" has "app@a@b.app.web.svc.cluster.local", which is no node name'],
    ],
    [
      'say so when their endpoints are no list',
      [slice({ a: 1 })],
      {},
      ['! "app-x7k2p": endpoints: expected a list, got a value of type object'],
    ],
    [
      'say so when they are no objects',
      [null, 5, [], { metadata: { name: 7 } }],
      {},
      ['! an object has no name but nothing', '! an object has no name but a value of type number'],
    ],
    [
      'have ids of at most 255 characters',
      [slice([endpoint('10.0.0.1', pod('p', 'u'.repeat(256)))])],
      {},
      ['app@10.0.0.1'],
    ],
    [
      'make no more than ten complaints each',
      [slice(Array.from({ length: 40 }, (_, index) => endpoint(`x${index}`, undefined)))],
      {},
      Array.from({ length: 10 }, (_, index) => `! "app-x7k2p": an address has "x${index}", which is no IP address`),
    ],
  ]
  for (const [behaviour, objects, options, expected] of cases) {
    test(behaviour, () => assert.deepEqual(outline(objects, options), expected))
  }
})

describe('a dual-stack service', () => {
  const four = slice([endpoint('10.0.0.1', pod('app-0'), { hostname: 'app-0' })], { name: 'app-4' })
  const six = slice([endpoint('fd00::1', pod('app-0'), { hostname: 'app-0' })], { name: 'app-6', addressType: 'IPv6' })
  const cases: [string, Record<string, unknown>, Naming['family'], string[]][] = [
    ['names a pod once, by IPv4 where the own node tells no family', {}, undefined, ['app@10.0.0.1 uid-app-0']],
    ['names a pod by IPv6 where the own node has it', {}, 6, ['app@fd00::1 uid-app-0']],
    ['names a pod once in DNS', { host: 'dns' }, 6, ['app@fd00--1.web.pod.cluster.local uid-app-0']],
    ['names a pod once by its host name', { host: 'hostname' }, 6, ['app@app-0.app.web.svc.cluster.local uid-app-0']],
  ]
  for (const [behaviour, options, family, expected] of cases) {
    test(behaviour, () => {
      assert.deepEqual(outline([four, six], options, family), expected)
      assert.deepEqual(outline([six, four], options, family), expected)
    })
  }

  test('keeps a pod that has the other family only', () => {
    assert.deepEqual(outline([four], {}, 6), ['app@10.0.0.1 uid-app-0'])
  })

  test('knows that a pod is leaving by either of its entries', () => {
    const leaving = slice([endpoint('fd00::1', pod('app-0'), terminating)], { name: 'app-6' })
    assert.deepEqual(outline([four, leaving]), ['app@10.0.0.1 leaving uid-app-0'])
  })
})

describe('Endpoints', () => {
  const address = (ip: string, name: string, more: object = {}) => ({
    ip,
    nodeName: 'worker-1',
    targetRef: pod(name),
    ...more,
  })
  const endpoints = (subsets: unknown, annotations?: object) => ({
    metadata: { name: 'app', namespace: 'web', annotations },
    subsets,
  })
  const ports = [{ name: 'epmd', port: 4369, protocol: 'TCP' }]
  const both = [{ addresses: [address('10.0.0.1', 'app-0')], notReadyAddresses: [address('10.0.0.2', 'app-1')], ports }]
  const cases: [string, unknown[], Record<string, unknown>, string[]][] = [
    ['list who is ready and who is not', [endpoints(both)], {}, ['app@10.0.0.1 uid-app-0', 'app@10.0.0.2 uid-app-1']],
    ['list only who is ready when told so', [endpoints(both)], { notReady: 'skip' }, ['app@10.0.0.1 uid-app-0']],
    ['may have no subsets', [endpoints(null), { metadata: { name: 'b' } }], {}, []],
    [
      'name a pod of several subsets once',
      [endpoints([...both, ...both])],
      {},
      ['app@10.0.0.1 uid-app-0', 'app@10.0.0.2 uid-app-1'],
    ],
    [
      'may have an address without a reference',
      [endpoints([{ addresses: [{ ip: '10.0.0.1' }] }])],
      {},
      ['app@10.0.0.1'],
    ],
    [
      'name pods by their address in DNS, in the namespace of the pod',
      [endpoints([{ addresses: [address('10.0.0.1', 'p', { targetRef: { ...pod('p'), namespace: 'other' } })] }])],
      { host: 'dns' },
      ['app@10-0-0-1.other.pod.cluster.local uid-p'],
    ],
    [
      'name pods by their host name under the service that they belong to',
      [endpoints([{ addresses: [address('10.0.0.1', 'app-0', { hostname: 'app-0' })] }])],
      { host: 'hostname', service: undefined, selector: 'a=b' },
      ['app@app-0.app.web.svc.cluster.local uid-app-0'],
    ],
    [
      'that were cut at 1,000 addresses say so',
      [endpoints(both, { 'endpoints.kubernetes.io/over-capacity': 'truncated' })],
      {},
      [
        'app@10.0.0.1 uid-app-0',
        'app@10.0.0.2 uid-app-1',
        '! "app": cut at 1,000 addresses: resource endpointslices has them all',
      ],
    ],
    [
      'leave out what is no address',
      [endpoints([{ addresses: [{ ip: 5 }, null] }, 7])],
      {},
      ['! "app": an address has "", which is no IP address'],
    ],
  ]
  for (const [behaviour, objects, options, expected] of cases) {
    test(behaviour, () => assert.deepEqual(outline(objects, { resource: 'endpoints', ...options }), expected))
  }
})

describe('Pods', () => {
  const ready = [
    { type: 'PodScheduled', status: 'True' },
    { type: 'Ready', status: 'True' },
  ]
  const podOf = (
    name: string,
    status: object,
    { spec = {}, metadata = {} }: { spec?: object; metadata?: object } = {},
  ) => ({
    metadata: { name, namespace: 'web', uid: `uid-${name}`, labels: { app: 'web' }, ...metadata },
    spec: { nodeName: 'worker-1', ...spec },
    status: { phase: 'Running', podIP: '10.0.0.1', podIPs: [{ ip: '10.0.0.1' }], conditions: ready, ...status },
  })
  const dual = podOf('a', { podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }] })
  const set = { spec: { hostname: 'app-0', subdomain: 'app-headless' } }
  const cases: [string, unknown[], Record<string, unknown>, string[], Naming['family']?][] = [
    ['give their address and uid', [podOf('a', {})], {}, ['app@10.0.0.1 uid-a']],
    [
      'that have failed or finished are not listed',
      [podOf('a', { phase: 'Failed' }), podOf('b', { phase: 'Succeeded' })],
      {},
      [],
    ],
    [
      'that have no address yet are not listed',
      [podOf('a', { phase: 'Pending', podIP: undefined, podIPs: undefined }), podOf('b', { podIP: '', podIPs: null })],
      {},
      [],
    ],
    [
      'that terminate are leaving',
      [podOf('a', {}, { metadata: { deletionTimestamp: '2026-11-20T10:00:00Z' } })],
      { notReady: 'skip' },
      ['app@10.0.0.1 leaving uid-a'],
    ],
    ['that are not ready are listed', [podOf('a', { conditions: [] })], {}, ['app@10.0.0.1 uid-a']],
    [
      'that are not ready are not when told so',
      [podOf('a', { conditions: [{ type: 'Ready', status: 'False' }] })],
      { notReady: 'skip' },
      [],
    ],
    ['have the first of their addresses', [dual], {}, ['app@10.0.0.1 uid-a']],
    ['have the address of the family of the own node', [dual], {}, ['app@fd00::1 uid-a'], 6],
    ['have their first address when they have none of that family', [podOf('a', {})], {}, ['app@10.0.0.1 uid-a'], 6],
    [
      'have a host name by the given service, as libcluster has it',
      [podOf('a', {}, set)],
      { host: 'hostname', service: 'given' },
      ['app@app-0.given.web.svc.cluster.local uid-a'],
    ],
    [
      'have a host name by their subdomain where no service is given',
      [podOf('a', {}, set)],
      { host: 'hostname', service: undefined },
      ['app@app-0.app-headless.web.svc.cluster.local uid-a'],
    ],
    [
      'without a subdomain have no host name',
      [podOf('a', {}, { spec: { hostname: 'x' } })],
      { host: 'hostname', service: undefined },
      ['! "a": it has no service in its host name: set service'],
    ],
    ['with an odd address are left out', [podOf('a', { podIP: 5 })], {}, ['! "a": it has "", which is no IP address']],
    [
      'are named in DNS',
      [podOf('a', { podIP: 'fd00::a:5', podIPs: [] })],
      { host: 'dns' },
      ['app@fd00--a-5.web.pod.cluster.local uid-a'],
    ],
  ]
  for (const [behaviour, objects, options, expected, family] of cases) {
    test(behaviour, () =>
      assert.deepEqual(outline(objects, { resource: 'pods', selector: 'app=web', ...options }, family), expected),
    )
  }
})

// Fuzzing, 2026: as arguments its groups exhausted the stack.
test('an address of very many groups is none', () => {
  const { flaws } = readObject(slice([{ addresses: [`::${'1:'.repeat(300_000)}1`], conditions: {} }]), naming({}))
  assert.match(flaws.join(), /which is no IP address/)
})

test('the family of a host is that of its address, or of the address in its first label', () => {
  const hosts = [
    '10.0.0.1',
    'fd00::1',
    '10-0-0-1.web.pod.cluster.local',
    'fd00--1.web.pod.cluster.local',
    'app-0.app.web.svc.cluster.local',
    'web',
  ]
  assert.deepEqual(hosts.map(familyOf), [4, 6, 4, 6, undefined, undefined])
})

describe('selectors', () => {
  const cases: [string, Partial<KubernetesOptions>, Record<string, string>][] = [
    [
      'find the slices of a service by its label',
      { service: 'app' },
      { labelSelector: 'kubernetes.io/service-name=app' },
    ],
    [
      'join both for slices',
      { service: 'app', selector: 'a in (b,c)' },
      { labelSelector: 'a in (b,c),kubernetes.io/service-name=app' },
    ],
    ['find Endpoints by their name', { resource: 'endpoints', service: 'app' }, { fieldSelector: 'metadata.name=app' }],
    ['find Endpoints by labels', { resource: 'endpoints', selector: 'a=b' }, { labelSelector: 'a=b' }],
    ['find pods by labels alone', { resource: 'pods', selector: 'a=b', service: 'app' }, { labelSelector: 'a=b' }],
  ]
  for (const [behaviour, options, expected] of cases) {
    test(behaviour, () => assert.deepEqual(selectorsOf(kubernetesOptionsSchema.parse(options)), expected))
  }
})

function codeOf(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (error instanceof RollcallError) return error.code
    throw error
  }
  throw new Error('expected an error')
}

describe('a page of a list', () => {
  const page = {
    kind: 'EndpointSliceList',
    apiVersion: 'discovery.k8s.io/v1',
    metadata: { resourceVersion: '7' },
    items: [1],
  }
  const read = (document: unknown) => readPage(document, kubernetesKinds.endpointslices)

  test('gives its items, its resourceVersion and where it goes on', () => {
    assert.deepEqual(read(page), { items: [1], resourceVersion: '7', next: '' })
    assert.deepEqual(read({ ...page, metadata: { resourceVersion: '7', continue: 'abc' } }), {
      items: [1],
      resourceVersion: '7',
      next: 'abc',
    })
  })

  test('without items is empty when it says null, as Go does', () => {
    assert.deepEqual(read({ ...page, items: null }).items, [])
  })

  for (const [what, document] of Object.entries({
    nothing: undefined,
    null: null,
    'a text': 'EndpointSliceList',
    'a list': [],
    'a Status': { kind: 'Status', status: 'Success' },
    'a list of another kind': { ...page, kind: 'PodList' },
    'one without items': { ...page, items: undefined },
    'one with items that are no list': { ...page, items: {} },
    'one without a version': { ...page, metadata: {} },
    'one with an empty version': { ...page, metadata: { resourceVersion: '' } },
    'one with an odd token': { ...page, metadata: { resourceVersion: '7', continue: 5 } },
  })) {
    test(`${what} is a bad answer, and not an empty list`, () =>
      assert.equal(
        codeOf(() => read(document)),
        'bad_answer',
      ))
  }
})

describe('an event of a watch', () => {
  const object = { metadata: { name: 'a', resourceVersion: '9' } }
  const cases: [string, unknown, object][] = [
    ['that adds or changes sets the object', { type: 'ADDED', object }, { type: 'set', object, resourceVersion: '9' }],
    ['that changes sets the object', { type: 'MODIFIED', object }, { type: 'set', object, resourceVersion: '9' }],
    [
      'that deletes names the object',
      { type: 'DELETED', object },
      { type: 'deleted', name: 'a', resourceVersion: '9' },
    ],
    [
      'that is a bookmark has a version only',
      { type: 'BOOKMARK', object: { metadata: { resourceVersion: '9' } } },
      { type: 'bookmark', resourceVersion: '9' },
    ],
    [
      'that is an error has its status',
      { type: 'ERROR', object: { kind: 'Status', code: 410, message: 'too old' } },
      { type: 'error', status: 410, message: 'too old' },
    ],
    [
      'that is an error of no status is one of the server',
      { type: 'ERROR', object: { code: -1e9 } },
      { type: 'error', status: 500, message: '' },
    ],
    [
      'that is an odd error is one of the server',
      { type: 'ERROR', object: null },
      { type: 'error', status: 500, message: '' },
    ],
  ]
  for (const [behaviour, document, expected] of cases) {
    test(behaviour, () => assert.deepEqual(readEvent(document), expected))
  }

  for (const [what, document] of Object.entries({
    nothing: null,
    'another type': { type: 'PATCHED', object },
    'one without an object': { type: 'ADDED' },
    'one without a name': { type: 'DELETED', object: { metadata: { resourceVersion: '9' } } },
    'one without a version': { type: 'ADDED', object: { metadata: { name: 'a' } } },
    'a bookmark without a version': { type: 'BOOKMARK', object: { metadata: { resourceVersion: '' } } },
  })) {
    test(`${what} is a bad answer`, () =>
      assert.equal(
        codeOf(() => readEvent(document)),
        'bad_answer',
      ))
  }
})

describe('the options', () => {
  const problem = (options: object) => {
    const parsed = kubernetesOptionsSchema.safeParse(options)
    const [issue] = parsed.success ? [] : parsed.error.issues
    return issue === undefined ? 'none' : `${issue.path.join('.')}: ${issue.message}`
  }

  test('have defaults for everything but whom to look for', () => {
    assert.deepEqual(kubernetesOptionsSchema.parse({ service: 'app' }), {
      resource: 'endpointslices',
      service: 'app',
      host: 'ip',
      notReady: 'include',
      clusterDomain: 'cluster.local',
      watch: true,
    })
  })

  const cases: [object, RegExp][] = [
    [{}, /^service: expected the name of a service here, or a label selector/],
    [{ resource: 'pods' }, /^selector: expected a label selector like app=web/],
    [{ resource: 'pods', service: 'app' }, /^selector: /],
    [{ service: 'App' }, /^service: expected a name of lower case/],
    [{ service: 'app', namespace: '../kube-system' }, /^namespace: /],
    [{ service: 'app', server: 'ftp://a' }, /^server: expected an http/],
    [{ service: 'app', server: 'https://user:pw@a' }, /^server: /],
    [{ service: 'app', server: 'http://10.0.0.1:8001', tokenFile: '/t' }, /^tokenFile: expected an https/],
    [{ service: 'app', server: 'http://127.0.0.1:8001', caFile: '/c' }, /^caFile: expected an https/],
    [{ service: 'app', server: 'http://127.0.0.1:8001', tokenFile: '/t' }, /^none$/],
    [{ service: 'app', server: 'http://[::1]:8001/', tokenFile: '/t' }, /^none$/],
    [{ service: 'app', server: 'https://k8s.example/clusters/c-1', tokenFile: '/t', caFile: '/c' }, /^none$/],
    [{ resource: 'pods', selector: 'app=web' }, /^none$/],
  ]
  for (const [options, expected] of cases) {
    test(`${JSON.stringify(options)} has the problem ${expected.source}`, () =>
      assert.match(problem(options), expected))
  }
})
