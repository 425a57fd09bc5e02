import { envoy } from './policies/envoy.ts'
import { eureka } from './policies/eureka.ts'
import { libcluster } from './policies/libcluster.ts'
import { never } from './policies/never.ts'
import { rollcall } from './run.ts'
import type { Contender } from './world.ts'

/** rollcall and the peers that it is compared with, in the order of the tables. */
export const contenders: readonly Contender[] = [rollcall, libcluster, never, eureka, envoy]
