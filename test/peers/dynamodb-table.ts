import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb'

/** Of any account, to one that checks none. */
export const CREDENTIALS = { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test', AWS_REGION: 'eu-central-1' }

/** Makes the table of a registry, as infra/aws does. */
export async function createTable(endpoint: string, TableName: string): Promise<void> {
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
  const client = new DynamoDBClient({ endpoint, region: CREDENTIALS.AWS_REGION, credentials })
  await client.send(
    new CreateTableCommand({
      TableName,
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: [
        { AttributeName: 'topology', AttributeType: 'S' },
        { AttributeName: 'node', AttributeType: 'S' },
      ],
      KeySchema: [
        { AttributeName: 'topology', KeyType: 'HASH' },
        { AttributeName: 'node', KeyType: 'RANGE' },
      ],
    }),
  )
  client.destroy()
}
