import type { DeployedSource } from './deployment.ts'

/** A statement of a policy that allows something. */
export interface Statement {
  readonly Effect: 'Allow'
  readonly Action: readonly string[]
  readonly Resource: '*'
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>
}

/**
 * What the function must be allowed for its sources, and no more; nothing for DNS. EC2 and Cloud Map know no resource for these
 * calls, so conditions limit them: to the regions, and to the services by name.
 * https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscloudmap.html
 */
export function permissionsOf(sources: readonly DeployedSource[], region: string): Statement[] {
  return [
    ...statement(sources, 'ec2', {
      actions: ['ec2:DescribeInstances'],
      keys: { 'ec2:Region': ({ options }) => options.region ?? region },
    }),
    ...statement(sources, 'cloudmap', {
      actions: ['servicediscovery:DiscoverInstances', 'servicediscovery:DiscoverInstancesRevision'],
      keys: {
        'servicediscovery:NamespaceName': ({ options }) => options.namespace,
        'servicediscovery:ServiceName': ({ options }) => options.service,
      },
    }),
  ]
}

interface Allowed {
  readonly actions: readonly string[]
  readonly keys: Readonly<Record<string, (source: DeployedSource) => unknown>>
}

/** One statement for all sources of a kind: each value of a key may go with each of another. */
function statement(sources: readonly DeployedSource[], kind: string, { actions, keys }: Allowed): Statement[] {
  const ofKind = sources.filter((source) => source.kind === kind)
  if (ofKind.length === 0) return []
  const values = Object.entries(keys).map(([key, valueOf]) => {
    const found = ofKind.map((source) => String(valueOf(source)))
    // What a variable holds is not to be in the template.
    return [key, [...new Set(found.map((value) => (hasVariable(value) ? '*' : literally(value))))].toSorted()] as const
  })
  return [{ Effect: 'Allow', Action: actions, Resource: '*', Condition: { StringLike: Object.fromEntries(values) } }]
}

function hasVariable(value: string): boolean {
  // A reference of CloudFormation looks so too while the template is made: ${Token[AWS.Region.4]}.
  return /\$\{\w+\}/.test(value)
}

/** A value that means itself in StringLike. */
function literally(value: string): string {
  return /\$\{Token\[/.test(value) ? value : value.replaceAll(/[*?$]/g, '${$&}')
}
