import type { Contender } from '../world.ts'
import { namesOf, onAnswers } from './answered.ts'

/** gen_cluster, nessie_cluster and dns_cluster: dial whoever is in the answer, cut nobody, ever. */
export const never: Contender = {
  name: 'never cut',
  cutting: 'disconnect_node',
  decide: () => onAnswers((observation) => ({ connect: namesOf(observation), disconnect: [] })),
}
