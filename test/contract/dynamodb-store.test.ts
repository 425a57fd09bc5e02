import { openDynamodbStore } from '../../functions/stores/dynamodb.ts'
import { createTable, CREDENTIALS } from '../peers/dynamodb-table.ts'
import { startMoto } from '../peers/moto.ts'
import { missingPrograms } from '../peers/programs.ts'
import { describeStore } from './store-contract.ts'
import { createInstance } from './store-instance.ts'

describeStore({
  name: 'DynamoDB',
  skip: missingPrograms('moto_server'),
  survives: true,
  async start() {
    Object.assign(process.env, CREDENTIALS)
    const moto = await startMoto()
    await createTable(moto.url, 'leases')
    const registry = { store: 'dynamodb', table: 'leases', endpoint: moto.url }
    return {
      open: async (topology) => createInstance(registry, { dynamodb: openDynamodbStore }, topology),
      // It is the table that keeps them: a new instance knows no more than that.
      restart: async () => {},
      close: () => moto.kill(),
    }
  },
})
