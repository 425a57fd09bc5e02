import { cloudmapOptionsSchema } from './sources/cloudmap.ts'
import { ec2OptionsSchema } from './sources/ec2.ts'

/** The sources that every host but the edge can ask: there the clients of AWS are too large. */
export const awsSources = { ec2: ec2OptionsSchema, cloudmap: cloudmapOptionsSchema }
