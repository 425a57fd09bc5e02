import { writeFile } from 'node:fs/promises'
import { get } from 'node:http'
import { setImmediate as turn } from 'node:timers/promises'
import { createAgent } from '../../agent/index.ts'
import { parseConfig } from '../../core/config.ts'

// A program that runs an agent with everything that an agent can hold open, stops it, and says what is still open then.
const [folder = '', port = ''] = process.argv.slice(2)
const B = 'b@10.0.0.2'
const sh = (script: string) => ['sh', '-c', script, folder]
await writeFile(`${folder}/links`, '')
const raw = {
  node: 'a@10.0.0.1',
  distribution: {
    exec: { connect: [...sh('echo $1 >>$0/links'), '{node}'], disconnect: ['false'], list: sh('cat $0/links') },
  },
  topologies: {
    web: {
      interval: '50ms',
      sources: [{ exec: { command: sh(`echo ${B}`) } }, { exec: { name: 'slow', command: ['sleep', '100'] } }],
    },
  },
  agent: { listen: `127.0.0.1:${port}`, state: `${folder}/state.json` },
}
const agent = createAgent(parseConfig(raw, { file: 'test', env: {} }))
const events = agent.events()
await agent.start()
for await (const { type } of events) if (type === 'nodeup') break
const status = await new Promise((resolve, reject) => {
  get(`http://127.0.0.1:${port}/healthz`, { agent: false }, (response) => {
    response.resume().on('end', () => resolve(response.statusCode))
  }).on('error', reject)
})
await agent.stop()
// The program that was told to end needs a moment to do so; requests that are over are listed for one turn more.
while (process.getActiveResourcesInfo().includes('ProcessWrap')) await turn()
await turn()
console.log(JSON.stringify({ status, open: process.getActiveResourcesInfo() }))
