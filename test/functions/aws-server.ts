import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import type { TestContext } from 'node:test'
import { type Loopback, serveLoopback } from '../contract/loopback.ts'

/** One call of an AWS service, as it comes over the wire. */
export interface Call {
  /** `DescribeInstances`, say. */
  readonly operation: string
  /** Of EC2 the fields of the form (`Filter.1.Name`), of Cloud Map the JSON. */
  readonly input: Readonly<Record<string, unknown>>
  readonly headers: IncomingMessage['headers']
}

export interface Reply {
  readonly body: string
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
}

export interface AwsServer extends Loopback {
  /** Each call that came, in order. */
  readonly calls: readonly Call[]
}

/** Serves EC2 and Cloud Map by what `reply` says; who is given a listener instead writes the answer itself. */
export async function serveAws(
  t: TestContext,
  reply: (call: Call, index: number) => Reply | RequestListener,
): Promise<AwsServer> {
  const calls: Call[] = []
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const call = callOf(request, await text(request))
    const given = reply(call, calls.push(call) - 1)
    if (typeof given === 'function') return given(request, response)
    response.writeHead(given.status ?? 200, given.headers)
    response.end(given.body)
  }
  const loopback = await serveLoopback(t, (request, response) => void answer(request, response))
  return { ...loopback, calls }
}

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html, and the JSON 1.1 protocol of AWS. */
function callOf({ headers }: IncomingMessage, body: string): Call {
  const target = headers['x-amz-target']
  if (typeof target === 'string') {
    return { operation: target.split('.')[1] ?? '', input: JSON.parse(body) as Record<string, unknown>, headers }
  }
  const input = Object.fromEntries(new URLSearchParams(body))
  return { operation: input['Action'] ?? '', input, headers }
}

/** An instance as EC2 describes it, in a few words. */
export interface Instance {
  readonly id?: string
  readonly state?: string
  readonly ip?: string
  readonly tags?: Readonly<Record<string, string>>
}

/** A page of DescribeInstances, each instance in a reservation of its own. */
export function ec2Page(instances: readonly Instance[], token = ''): string {
  const reservations = instances.map(
    (instance) => `<item><instancesSet><item>${instanceXml(instance)}</item></instancesSet></item>`,
  )
  return `<?xml version="1.0" encoding="UTF-8"?>
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r-1</requestId>
<reservationSet>${reservations.join('')}</reservationSet>${token && `<nextToken>${token}</nextToken>`}</DescribeInstancesResponse>`
}

/** A refusal of EC2. */
export function ec2Error(code: string, status: number, headers: Readonly<Record<string, string>> = {}): Reply {
  const body = `<?xml version="1.0"?><Response><Errors><Error><Code>${code}</Code><Message>No.</Message></Error></Errors><RequestID>r</RequestID></Response>`
  return { status, headers, body }
}

/** A refusal of Cloud Map. */
export function cloudmapError(type: string, status = 400): Reply {
  return {
    status,
    headers: { 'content-type': 'application/x-amz-json-1.1' },
    body: JSON.stringify({ __type: type, message: 'No.' }),
  }
}

function instanceXml({ id, state = 'running', ip, tags = {} }: Instance): string {
  const each = Object.entries(tags).map(([key, value]) => `<item><key>${key}</key><value>${value}</value></item>`)
  return [
    id && `<instanceId>${id}</instanceId>`,
    `<instanceState><code>16</code><name>${state}</name></instanceState>`,
    ip && `<privateIpAddress>${ip}</privateIpAddress>`,
    `<tagSet>${each.join('')}</tagSet>`,
  ].join('')
}

/** What an instance's metadata says, by the path below /latest/meta-data/. */
export interface MetadataServer {
  /** The variables by which it is found. */
  readonly env: Record<string, string>
  /** Each path that was read, in order. */
  readonly paths: readonly string[]
}

/** The metadata service by version 2 of its protocol: a token by PUT first, 401 without one, 404 for what is not there. */
export async function serveMetadata(t: TestContext, paths: Readonly<Record<string, string>>): Promise<MetadataServer> {
  const token = 'AQAEAHp5-token=='
  const asked: string[] = []
  const { url } = await serveLoopback(t, ({ method, url: path = '', headers }, response) => {
    if (method === 'PUT' && path === '/latest/api/token') {
      const ttl = Number(headers['x-aws-ec2-metadata-token-ttl-seconds'])
      response.writeHead(ttl >= 1 && ttl <= 21_600 ? 200 : 400).end(token)
      return
    }
    if (method !== 'GET' || headers['x-aws-ec2-metadata-token'] !== token) {
      response.writeHead(method === 'GET' ? 401 : 405).end()
      return
    }
    const name = decodeURIComponent(path.replace('/latest/meta-data/', ''))
    asked.push(name)
    const value = paths[name]
    response.writeHead(value === undefined ? 404 : 200).end(value ?? '<html>404 - Not Found</html>')
  })
  return { env: { AWS_EC2_METADATA_SERVICE_ENDPOINT: url }, paths: asked }
}
