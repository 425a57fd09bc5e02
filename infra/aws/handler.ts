import { readParameters } from './parameters.ts'

// The entry of the function as the stack deploys it: what its config names comes from SSM Parameter Store, once for each instance and
// before anything reads the config.
const { ROLLCALL_PARAMETERS: paths } = process.env
if (paths !== undefined) await readParameters(paths.split(','), process.env)

/** The AWS Lambda handler: see functions/lambda.ts. */
export const { handler } = await import('../../functions/lambda.ts')
