import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Annotations, App } from 'aws-cdk-lib'
import { RollcallError } from '../../core/error.ts'
import { bundle } from './bundle.ts'
import { readDeployment } from './deployment.ts'
import { createStack } from './stack.ts'

// What `cdk` runs. Its options are context, `-c config=rollcall.yaml -c name=rollcall -c alarmTopic=arn:… -c concurrency=10`, or stand in
// cdk.json.
const code = mkdtempSync(join(tmpdir(), 'rollcall-aws-'))
try {
  await synthesize()
} catch (error) {
  if (!(error instanceof RollcallError)) throw error
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 2
} finally {
  rmSync(code, { recursive: true })
}

async function synthesize(): Promise<void> {
  const app = new App({ analyticsReporting: false })
  const option = (key: string) => app.node.tryGetContext(key) as string | undefined
  const file = option('config') ?? 'rollcall.yaml'
  const deployment = readDeployment(readFileSync(file, 'utf8'), { file, env: process.env })
  await bundle(code)
  const concurrency = option('concurrency')
  const stack = createStack(app, {
    name: option('name') ?? 'rollcall',
    deployment,
    code,
    alarmTopic: option('alarmTopic'),
    concurrency: concurrency === undefined ? undefined : Number(concurrency),
  })
  if (deployment.isOpen) Annotations.of(stack).addWarningV2('rollcall:open', `auth: none in ${file}: anybody can call`)
  app.synth()
}
