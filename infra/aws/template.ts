import { App } from 'aws-cdk-lib'
import { Template } from 'aws-cdk-lib/assertions'
import { createStack, type StackOptions } from './stack.ts'

/** The template that the stack comes to, as plain JSON; `folder` takes what the CDK writes beside it. For tests. */
export function templateOf(options: StackOptions, folder: string): Record<string, unknown> {
  const app = new App({ analyticsReporting: false, outdir: folder })
  return Template.fromStack(createStack(app, options)).toJSON()
}
