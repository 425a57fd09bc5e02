/** The environment of a process. */
export type Environment = Record<string, string | undefined>

// The most that one call takes: https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html
const BATCH = 10

/**
 * Sets the variables that `paths` are for, each named by the last part of its path, from SSM Parameter Store; those that are set are
 * left alone. One that is not there stays unset, and the config that needs it says so. Throws what the client throws where the store
 * cannot be read: Lambda then starts the instance anew at the next call.
 */
export async function readParameters(paths: readonly string[], env: Environment): Promise<void> {
  const wanted = paths.filter((path) => env[variableOf(path)] === undefined)
  if (wanted.length === 0) return
  const { GetParametersCommand, SSMClient } = await import('./ssm-client.ts')
  const client = new SSMClient({})
  for (let start = 0; start < wanted.length; start += BATCH) {
    const Names = wanted.slice(start, start + BATCH)
    const { Parameters = [] } = await client.send(new GetParametersCommand({ Names, WithDecryption: true }))
    for (const { Name = '', Value } of Parameters) env[variableOf(Name)] = Value
  }
  client.destroy()
}

function variableOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}
