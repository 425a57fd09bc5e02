import { type DnsAnswer, type DnsQuestion, dnsError, isDnsName } from '../core/sources/dns.ts'

// A /22 of hosts with their reverse look-ups; what is beyond is left out, and the look is partial.
const MAX_QUESTIONS = 1_000
// Enough to hide latency, few enough for a nameserver's client limits and for file descriptors.
const MAX_IN_FLIGHT = 32
// As in an answer: real chains have two or three.
const MAX_ALIASES = 16

/** Asks one question. Throws when nobody gave an answer. */
export type DnsClient = (question: DnsQuestion) => Promise<DnsAnswer>

/** A client for one look: follows aliases from answer to answer, bounded in questions and in how many are under way. */
export function createDnsClient(ask: DnsClient): DnsClient {
  const limit = createLimit(MAX_IN_FLIGHT)
  let questions = 0

  async function askBounded(question: DnsQuestion): Promise<DnsAnswer> {
    // A target or alias may hold any bytes; encoded again they would be another message.
    if (!isDnsName(question.name)) {
      throw dnsError('dns_malformed', `a name to ask for, got ${JSON.stringify(question.name)}`)
    }
    if (++questions > MAX_QUESTIONS) {
      throw dnsError('dns_too_many_questions', `at most ${MAX_QUESTIONS} questions in one look`)
    }
    return await ask(question)
  }

  return async function resolve(question) {
    let { name } = question
    for (let aliases = 0; aliases <= MAX_ALIASES; aliases++) {
      const answer = await limit(() => askBounded({ ...question, name }))
      if (answer.alias === undefined) return answer
      name = answer.alias
    }
    throw dnsError('dns_alias_loop', `${question.name} to end, got ${MAX_ALIASES} aliases`)
  }
}

/** Runs at most `free` calls at once, the others in order. */
function createLimit(free: number) {
  const waiting: (() => void)[] = []
  return async function limit<Result>(call: () => Promise<Result>): Promise<Result> {
    if (free > 0) free--
    else await new Promise<void>((resolve) => waiting.push(resolve))
    try {
      return await call()
    } finally {
      const next = waiting.shift()
      if (next === undefined) free++
      else next()
    }
  }
}
