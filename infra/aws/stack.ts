import { type App, Aws, CfnOutput, Duration, RemovalPolicy, Stack } from 'aws-cdk-lib'
import { type Alarm, ComparisonOperator, type Metric, TreatMissingData } from 'aws-cdk-lib/aws-cloudwatch'
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions'
import { AttributeType, Billing, TableV2 } from 'aws-cdk-lib/aws-dynamodb'
import { PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam'
import {
  Architecture,
  Code,
  Function as LambdaFunction,
  FunctionUrlAuthType,
  LoggingFormat,
  Runtime,
  SystemLogLevel,
} from 'aws-cdk-lib/aws-lambda'
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs'
import { Topic } from 'aws-cdk-lib/aws-sns'
import type { Deployment } from './deployment.ts'
import { permissionsOf } from './permissions.ts'
import { OWN_TABLE, TABLE } from './table.ts'

export interface StackOptions {
  readonly name: string
  readonly deployment: Deployment
  /** The folder of the bundle. */
  readonly code: string
  /** The ARN of an SNS topic that the alarms are sent to; without one they are seen in the console alone. */
  readonly alarmTopic?: string | undefined
  /** How many calls are answered at once at most. Without it as many as the account allows. */
  readonly concurrency?: number | undefined
}

// Lambda's own default of 3 s is below the 5 s that a source has: a slow one would be an error of the function instead of an answer
// that says so. The rest is for a cold start and the answer itself.
const MIN_TIMEOUT_MS = 15_000
const BESIDE_ASK_MS = 10_000
// With the client of EC2 loaded the process has some 180 MB. CPU comes with memory, and that client takes 0.3 s of a whole one to load:
// 1 s of the third that comes with 512 MB, 4 s of what comes with 128. A warm call is done within 1 or 2 ms of any size.
const MEMORY_MB = 512
const PERIOD = Duration.minutes(5)
// A single failed call is one that the agent makes again.
const ALARM_PERIODS = { evaluationPeriods: 3, datapointsToAlarm: 2 }
// At this part of the timeout a caller waits for longer than any agent does, and calls are about to be cut.
const SLOW = 0.8

/** Adds the function with its URL, its role, its log, its alarms, and the tables that its registries keep their leases in. */
export function createStack(app: App, { name, deployment, code, alarmTopic, concurrency }: StackOptions): Stack {
  const stack = new Stack(app, name, { description: 'rollcall: says who is in the mesh' })
  const logGroup = new LogGroup(stack, 'Log', {
    retention: RetentionDays.ONE_MONTH,
    removalPolicy: RemovalPolicy.DESTROY,
  })
  // A role of its own: the one that the construct makes may create log groups and write to all of the account.
  const role = new Role(stack, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') })
  logGroup.grantWrite(role)
  for (const statement of permissionsOf(deployment.sources, Aws.REGION)) {
    role.addToPolicy(PolicyStatement.fromJson(statement))
  }
  const tables = deployment.tables.map((table) => createTable(stack, table, role))
  const ownTable = tables[deployment.tables.indexOf(OWN_TABLE)]
  const parameters = deployment.variables.map((variable) => `/${name}/${variable}`)
  if (parameters.length > 0) {
    const resources = parameters.map((path) => stack.formatArn({ service: 'ssm', resource: `parameter${path}` }))
    role.addToPolicy(new PolicyStatement({ actions: ['ssm:GetParameters'], resources }))
  }

  const timeoutMs = Math.max(MIN_TIMEOUT_MS, deployment.longestAskMs + BESIDE_ASK_MS)
  // Lambda takes whole seconds.
  const timeout = Duration.seconds(Math.ceil(timeoutMs / 1_000))
  const lambda = new LambdaFunction(stack, 'Function', {
    runtime: Runtime.NODEJS_24_X,
    architecture: Architecture.ARM_64,
    handler: 'index.handler',
    code: Code.fromAsset(code),
    role,
    logGroup,
    // Of what Lambda itself has to say only that a call failed: two lines about each call would cost as much as the calls.
    loggingFormat: LoggingFormat.JSON,
    systemLogLevelV2: SystemLogLevel.WARN,
    timeout,
    memorySize: MEMORY_MB,
    environment: {
      ROLLCALL_CONFIG: deployment.config,
      ...(parameters.length > 0 && { ROLLCALL_PARAMETERS: parameters.join() }),
      ...(ownTable !== undefined && { ROLLCALL_TABLE: ownTable.tableName }),
    },
    ...(concurrency !== undefined && { reservedConcurrentExecutions: concurrency }),
  })
  // Who may call is said by `auth` of the config: agents have tokens, and not all of them have roles.
  const url = lambda.addFunctionUrl({ authType: FunctionUrlAuthType.NONE })

  const slowest = timeout.toMilliseconds() * SLOW
  const alarms = [
    alarm(stack, 'Errors', lambda.metricErrors({ period: PERIOD, statistic: 'Sum' }), 1),
    alarm(stack, 'Throttles', lambda.metricThrottles({ period: PERIOD, statistic: 'Sum' }), 1),
    alarm(stack, 'Slow', lambda.metricDuration({ period: PERIOD, statistic: 'p99' }), slowest),
  ]
  if (alarmTopic !== undefined) {
    const action = new SnsAction(Topic.fromTopicArn(stack, 'AlarmTopic', alarmTopic))
    for (const each of alarms) each.addAlarmAction(action)
  }
  output(stack, 'Url', url.url)
  output(stack, 'LogGroup', logGroup.logGroupName)
  return stack
}

function output(stack: Stack, id: string, value: string): CfnOutput {
  return new CfnOutput(stack, id, { value })
}

function createTable(stack: Stack, given: string, role: Role): TableV2 {
  const isOwn = given === OWN_TABLE
  const table = new TableV2(stack, isOwn ? 'Table' : `Table-${given}`, {
    ...(!isOwn && { tableName: given }),
    partitionKey: { name: TABLE.partitionKey, type: AttributeType.STRING },
    sortKey: { name: TABLE.sortKey, type: AttributeType.STRING },
    timeToLiveAttribute: TABLE.expiry,
    // As many writes as there are nodes, and none where there are none.
    billing: Billing.onDemand(),
    pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
    // What is in it lasts for a lease.
    removalPolicy: RemovalPolicy.DESTROY,
  })
  table.grant(role, ...TABLE.actions)
  return table
}

function alarm(stack: Stack, id: string, metric: Metric, threshold: number): Alarm {
  return metric.createAlarm(stack, `${id}Alarm`, {
    ...ALARM_PERIODS,
    threshold,
    comparisonOperator: ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
    // Nobody called.
    treatMissingData: TreatMissingData.NOT_BREACHING,
  })
}
