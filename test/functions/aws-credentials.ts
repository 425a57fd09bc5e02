import { after, before } from 'node:test'

// What would lead the SDK to credentials of this machine, or to another AWS.
const OWN = /^AWS_/
const CREDENTIALS = {
  AWS_ACCESS_KEY_ID: 'AKIATEST',
  AWS_SECRET_ACCESS_KEY: 'secret',
  AWS_SESSION_TOKEN: 'session',
  AWS_EC2_METADATA_DISABLED: 'true',
  AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
  AWS_CONFIG_FILE: '/nonexistent',
}

/** Gives the tests of this file credentials of their own, and takes those of the machine away. The SDK reads process.env alone. */
export function withCredentials(): void {
  const kept = new Map<string, string | undefined>()
  before(() => {
    for (const name of [...Object.keys(process.env).filter((each) => OWN.test(each)), ...Object.keys(CREDENTIALS)]) {
      kept.set(name, process.env[name])
      delete process.env[name]
    }
    Object.assign(process.env, CREDENTIALS)
  })
  after(() => {
    for (const [name, value] of kept) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  })
}
