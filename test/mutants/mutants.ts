import { inFile, type Mutant } from './mutant.ts'

const plan = inFile('core/plan.ts', [
  {
    wrong: 'the clock runs while nobody observes',
    find: 'Math.min(Math.max(0, input.now - before.at), intervalMs)',
    put: 'Math.max(0, input.now - before.at)',
  },
  {
    wrong: 'with an interval of never no time passes',
    find: 'asked.intervalMs > 0 ? asked.intervalMs : NEVER_MS',
    put: 'asked.intervalMs',
  },
  {
    wrong: 'the state of another node is believed',
    find: 'before?.version === 1 && before.self === self',
    put: 'before?.version === 1',
  },
  {
    wrong: 'observations are folded in the order in which they came, not in that of their times',
    find: 'news.toSorted((a, b) => a.at - b.at)',
    put: 'news',
  },
  {
    wrong: 'what one source said counts for every source',
    find: 'observations.filter((observation) => observation.source === id)',
    put: 'observations',
  },
  {
    wrong: 'the guard remembers removals for grace, not for confirm',
    find: 'clock - removed < policy.confirm',
    put: 'clock - removed < policy.grace',
  },
  {
    wrong: 'the guard does not count removals that were made',
    find: 'state.removalClocks.push(state.clock)',
    put: '',
  },
  {
    wrong: 'who is removed is dialled once more in the same plan',
    find: "standings.set(node, { kind: 'removed' })",
    put: '',
  },
  {
    wrong: 'a node that was told to leave does not',
    find: "verdict === 'gone' || input.leaving === true",
    put: "verdict === 'gone'",
  },
  {
    wrong: 'a node whose source says that it leaves goes on dialling',
    find: "leave || verdict === 'leaving' ? new Map()",
    put: 'leave ? new Map()',
  },
  {
    wrong: 'a node that leaves cuts others off first',
    find: 'disconnect: leave ? [] : cuts.disconnect',
    put: 'disconnect: cuts.disconnect',
  },
  {
    wrong: 'this node leaves when one of its topologies leaves it out',
    find: '!verdicts.every(',
    put: '!verdicts.some(',
  },
  {
    wrong: 'a node that no source ever listed leaves',
    find: "verdicts.length > 0 ? 'gone' : 'wanted'",
    put: "'gone'",
  },
  {
    wrong: 'one topology is enough to cut a link that another wants',
    find: 'cuts.length === verdicts.length',
    put: 'cuts.length > 0',
  },
  {
    wrong: 'a topology that plainly lists a node has no veto',
    find: ' || (views.length > 1 && view.knows(node))',
    put: '',
  },
  {
    wrong: 'this node is to cut itself',
    find: ' && node !== draft.input.self)',
    put: ')',
  },
  {
    wrong: 'disconnect: never cuts',
    find: "policy.disconnect === 'never' ? { hold: { reason: 'policy' } } : { cut: reason }",
    put: '{ cut: reason }',
  },
  {
    wrong: 'a leaving node is cut at once, without drain',
    find: 'standing.sinceClock + policy.drain - state.clock',
    put: 'standing.sinceClock - state.clock',
  },
  {
    wrong: 'who is kept for a failing source is not reported',
    find: "if (standing.kind === 'kept') return { hold: { reason: standing.reason } }",
    put: "if (standing.kind === 'kept') return {}",
  },
  {
    wrong: 'who is kept by the guard is said to wait for grace',
    find: "if (view.guard !== undefined) return holdFor(policy.confirm - standing.missedMs, 'budget')",
    put: '',
  },
  {
    wrong: 'the end of a hold wakes nobody',
    find: 'due(Math.min(until, now + intervalMs))',
    put: '',
  },
])

const fold = inFile('core/fold.ts', [
  {
    wrong: 'the same answer is counted twice',
    find: 'Math.min(at, now) <= last',
    put: 'Math.min(at, now) < last',
  },
  {
    wrong: 'an answer from the future is counted at each plan until then',
    find: 'return at <= now || at > ahead',
    put: 'return true',
  },
  {
    wrong: 'a partial answer is believed in what it leaves out',
    find: "observation.outcome === 'complete' && !tooMany",
    put: '!tooMany',
  },
  {
    wrong: 'an answer that was cut at maxMembers is believed in what it leaves out',
    find: "observation.outcome === 'complete' && !tooMany",
    put: "observation.outcome === 'complete'",
  },
  {
    wrong: 'maxMembers cuts nothing',
    find: 'tooMany ? observation.members.slice(0, policy.maxMembers) : observation.members',
    put: 'observation.members',
  },
  {
    wrong: 'a doubted answer counts as a miss',
    find: 'doubt === undefined ? counted : NO_MISSES',
    put: 'counted',
  },
  {
    wrong: 'after a doubt absence counts on from where it was',
    find: '...(doubt === undefined ? counted : NO_MISSES)',
    put: '...(doubt === undefined ? counted : {})',
  },
  {
    wrong: 'the first miss counts for the time before it',
    find: '(misses > 0 ? elapsedMs : 0)',
    put: 'elapsedMs',
  },
  {
    wrong: 'a miss counts for all the time since the answer before, in which nobody may have asked',
    find: 'Math.min(source.at - (source.answeredAt ?? source.at), intervalMs)',
    put: 'source.at - (source.answeredAt ?? source.at)',
  },
  {
    wrong: 'a stale answer that names a node ends its absence',
    find: 'known.has(node) || node in source.missing) continue',
    put: 'known.has(node)) continue',
  },
  {
    wrong: 'a failure is taken for an empty answer',
    find: 'const known = new Set(source.listed)',
    put: 'const known = new Set((source.listed = []))',
  },
  {
    wrong: 'a member that is leaving is overlooked where the names are those of the answer before',
    find: "member?.node === listed[index] && member.status === 'up' &&",
    put: 'member?.node === listed[index] &&',
  },
  {
    wrong: 'a restarted node whose link was gone makes its source doubted',
    find: 'if (missing?.linked) noteReturn',
    put: 'if (missing) noteReturn',
  },
  {
    wrong: 'who is in no part of an answer counts as left out and brought back',
    find: 'context.complete && linked.has(node)',
    put: 'linked.has(node)',
  },
  {
    wrong: 'one record that flaps makes its source doubted',
    find: 'clock < until ? 0 : 1',
    put: '0',
  },
  {
    wrong: 'further returns do not prolong a doubt',
    find: 'clock < until ? 0 : 1',
    put: 'clock < until ? Infinity : 1',
  },
  {
    wrong: 'two returns an hour apart make a source doubted',
    find: '.filter((returned) => clock - returned < policy.confirm)',
    put: '',
  },
  {
    wrong: 'a source that answers samples is never doubted',
    find: 'if (clock < until) {',
    put: 'if (clock < 0) {',
  },
  {
    wrong: 'a source that is doubted stays so for ever',
    find: 'if (clock < until) {',
    put: 'if (until > 0) {',
  },
  {
    wrong: 'an answer that lists nobody is believed',
    find: "source.listed.some((node) => node !== input.self) ? undefined : 'it lists nobody else'",
    put: 'undefined',
  },
  {
    wrong: 'an answer that lists this node alone is believed',
    find: 'source.listed.some((node) => node !== input.self)',
    put: 'source.listed.length > 0',
  },
  {
    wrong: 'a leaving node that is listed as up again stays leaving',
    find: "if (isNew || status === 'up') delete",
    put: 'if (isNew) delete',
  },
  {
    wrong: 'each answer that says leaving begins the drain anew',
    find: "status === 'leaving' && leavingClocks[node] === undefined",
    put: "status === 'leaving'",
  },
  {
    wrong: 'an answer without ids makes every node a new one',
    find: 'before?.id !== undefined && id !== undefined && before.id !== id',
    put: 'before?.id !== undefined && before.id !== id',
  },
  {
    wrong: 'a new node under an old name is dialled where its predecessor was',
    find: '...(!isNew && before)',
    put: '...before',
  },
])

const change = inFile('core/change.ts', [
  {
    wrong: 'the last name of a sorted answer can be left out unseen',
    find: '...before.slice(at)]',
    put: '...before.slice(at + 1)]',
  },
  {
    wrong: 'of two records of one name the first stands, whatever they say',
    find: 'if (other === undefined || member.status === preferred)',
    put: 'if (other === undefined)',
  },
  {
    wrong: 'with two records of one name `leaving` beats its successor',
    find: "other?.id === member.id ? 'leaving' : 'up'",
    put: "'leaving'",
  },
  {
    wrong: 'what is no name is dialled',
    find: 'isNodeName(member?.node)',
    put: 'member?.node !== undefined',
  },
])

const standing = inFile('core/standing.ts', [
  {
    wrong: 'as many as the budget allows are too many',
    find: 'absent.length + recent > Math.max',
    put: 'absent.length + recent >= Math.max',
  },
  {
    wrong: 'the budget is for each moment, not for all within confirm',
    find: 'absent.length + recent > Math.max',
    put: 'absent.length > Math.max',
  },
  {
    wrong: 'the budget is rounded up',
    find: 'Math.floor(policy.budget * members)',
    put: 'Math.ceil(policy.budget * members)',
  },
  {
    wrong: 'in a small mesh the budget is nobody',
    find: 'Math.max(1, Math.floor(policy.budget * members))',
    put: 'Math.floor(policy.budget * members)',
  },
  {
    wrong: 'self is outside the budget where no source lists it',
    find: ' + (view.knowsSelf ? 0 : 1)',
    put: '',
  },
  {
    wrong: 'self counts twice for the budget',
    find: '(view.knowsSelf ? 0 : 1)',
    put: '1',
  },
  {
    wrong: 'the members shrink with each removal, and the budget with them',
    find: 'view.members - state.removed.length + recent +',
    put: 'view.members - state.removed.length +',
  },
  {
    wrong: 'the dead, who have no link, use the budget up',
    find: "standing.kind === 'absent' && linked.has(node)",
    put: "standing.kind === 'absent'",
  },
  {
    wrong: 'beyond the budget a removal needs grace, not confirm',
    find: 'missedMs >= policy.confirm',
    put: 'missedMs >= policy.grace',
  },
  {
    wrong: 'the guard lasts for ever',
    find: 'due.filter(({ missedMs }) => missedMs >= policy.confirm)',
    put: '[]',
  },
  {
    wrong: 'beyond the budget the first few go',
    find: 'due.filter(({ missedMs }) => missedMs >= policy.confirm)',
    put: 'due.slice(0, 1)',
  },
  {
    wrong: 'grace alone is enough, or misses alone',
    find: 'misses >= view.policy.misses && missedMs >= graceOf(view)',
    put: 'misses >= view.policy.misses || missedMs >= graceOf(view)',
  },
  {
    wrong: 'one miss more than `misses` is needed',
    find: 'misses >= view.policy.misses',
    put: 'misses > view.policy.misses',
  },
  {
    wrong: 'grace may be less than three intervals',
    find: 'Math.max(policy.grace, 3 * intervalMs)',
    put: 'policy.grace',
  },
  {
    wrong: 'the source that left it out longest decides',
    find: "{ kind: 'absent', misses, missedMs: leastMs }",
    put: "{ kind: 'absent', misses, missedMs: mostMs }",
  },
  {
    wrong: 'a node that only a failing source lists is taken for listed',
    find: "left === undefined && outcome !== 'failed'",
    put: 'left === undefined',
  },
  {
    wrong: 'who was left out before the source failed is removed while it fails',
    find: "if (failing) return { kind: 'kept', reason: 'source_failed', missedMs: mostMs }",
    put: '',
  },
  {
    wrong: 'who was left out before the answers were partial is removed',
    find: "doubting ||= outcome === 'partial' || doubted === true",
    put: 'doubting ||= doubted === true',
  },
  {
    wrong: 'a removal stands though its source is doubted since',
    find: 'node in missing && !doubted',
    put: 'node in missing',
  },
  {
    wrong: 'a removal stands though one of its sources lists the node again',
    find: 'all.every(({ missing, doubted })',
    put: 'all.some(({ missing, doubted })',
  },
  {
    wrong: 'a removed node stays removed though it is listed again',
    find: 'all.every(({ missing, doubted }) => node in missing && !doubted)',
    put: 'true',
  },
  {
    wrong: 'leaving nodes make the budget larger',
    find: 'members: known.length - leaving',
    put: 'members: known.length',
  },
  {
    wrong: 'a source that never listed a node keeps it',
    find: 'sources.length === 1 ? sources : knowing(node)',
    put: 'sources',
  },
  {
    wrong: 'who is dead and not named any more is remembered for stale, not for confirm',
    find: '(answering && !naming ? Math.min(policy.confirm, policy.stale) : policy.stale)',
    put: 'policy.stale',
  },
  {
    wrong: 'while its source is down a member is forgotten after confirm, not after stale',
    find: '(answering && !naming ? Math.min(policy.confirm, policy.stale) : policy.stale)',
    put: 'policy.confirm',
  },
  {
    wrong: 'a failing source that listed it keeps a dead node known, though another answers without it',
    find: "outcome !== 'failed' && left === undefined",
    put: 'left === undefined',
  },
  {
    wrong: 'ids and addresses of the forgotten are kept for ever',
    find: 'delete source.details[node]',
    put: '',
  },
  {
    wrong: 'who is forgotten stays listed where its source fell silent',
    find: 'source.listed = source.listed.filter((node) => !nodes.has(node))',
    put: '',
  },
])

const dial = inFile('core/dial.ts', [
  {
    wrong: 'a dial that failed is waited for until its timeout',
    find: 'outcome !== false && now - dialledAt < policy.dialTimeout',
    put: 'now - dialledAt < policy.dialTimeout',
  },
  {
    wrong: 'a dial that nothing was heard of is under way for ever',
    find: 'outcome !== false && now - dialledAt < policy.dialTimeout',
    put: 'outcome !== false',
  },
  {
    wrong: 'a failed dial is followed by the next at once',
    find: 'retryAt: now + wait',
    put: 'retryAt: now',
  },
  {
    wrong: 'a clock that was set back leaves a dial under way until it has caught up',
    find: 'if ((peer.dialledAt ?? 0) > now) peer.dialledAt = now',
    put: '',
  },
  {
    wrong: 'a clock that was set back makes a wait as long as the jump',
    find: 'if ((peer.retryAt ?? 0) > now + policy.maxWait) peer.retryAt = now + policy.maxWait',
    put: '',
  },
  {
    wrong: 'one dial more than dialsPerRound is under way',
    find: '>= policy.dialsPerRound',
    put: '> policy.dialsPerRound',
  },
  {
    wrong: 'dials that are under way do not count for dialsPerRound',
    find: '      countDial(view)\n      holdUntil',
    put: '      holdUntil',
  },
  {
    wrong: 'all nodes dial in the same order',
    find: 'hash32(`${self} ${node}`)',
    put: 'hash32(node)',
  },
  {
    wrong: 'the peers are blamed for links that were all lost at once',
    find: 'const blameless = ',
    put: 'const blameless = false && ',
  },
  {
    wrong: 'links that are all lost at once are never blamed, however often',
    find: ' && state.clock - (state.blamelessClock ?? -Infinity) >= policy.halfLife',
    put: '',
  },
  {
    wrong: 'a newly listed node is taken for a lost one',
    find: ' && !fresh.has(node)',
    put: '',
  },
  {
    wrong: 'a new node under an old name has the waits of its predecessor',
    find: '(!renewed.has(node) && before.peers[node])',
    put: 'before.peers[node]',
  },
  {
    wrong: 'who is leaving is dialled',
    find: 'const wanted = !isLeaving(node)',
    put: 'const wanted = true',
  },
  {
    wrong: 'who leaves one topology is not dialled for another',
    find: 'earlier === undefined || (wanted && !earlier.wanted)',
    put: 'earlier === undefined',
  },
  {
    wrong: 'who was removed is dialled again when its link is gone',
    find: "if (standing?.kind === 'removed') return 'removed, and its link is gone'",
    put: '',
  },
  {
    wrong: 'the absent and dead are dialled on',
    find: "if (failed) return 'no source lists it, it has no link and a dial failed'",
    put: '',
  },
  {
    wrong: 'who is leaving and still listed is forgotten, and listed anew by each answer',
    find: "return standing.listed ? undefined : 'it left'",
    put: "return 'it left'",
  },
  {
    wrong: 'the penalty of a peer is forgotten as soon as it has a link',
    find: 'if (first === undefined || ',
    put: 'if (first !== undefined || ',
  },
])

const penalty = inFile('core/penalty.ts', [
  {
    wrong: 'a penalty never decays',
    find: 'penalty * 0.5 ** (Math.max(0, now - penaltyAt) / Math.max(1, halfLifeMs))',
    put: 'penalty',
  },
  {
    wrong: 'a penalty does not grow',
    find: 'before + 1',
    put: '1',
  },
  {
    wrong: 'a peer that was dead for a day is damped for minutes',
    find: 'Math.min(MAX_PENALTY, before + 1)',
    put: '(before + 1)',
  },
  {
    wrong: 'a wait may be longer than maxWait',
    find: 'Math.min(maxWaitMs, maxWaitMs * FIRST_WAIT * (2 ** penalty - 1))',
    put: 'maxWaitMs * FIRST_WAIT * (2 ** penalty - 1)',
  },
  {
    wrong: 'the jitter is missing',
    find: 'full * (1 - hash32(`${self} ${peer} ${attempt}`) / 2 ** 33)',
    put: 'full',
  },
  {
    wrong: 'all nodes have the same jitter for one peer',
    find: '`${self} ${peer} ${attempt}`',
    put: '`${peer} ${attempt}`',
  },
])

const report = inFile('core/report.ts', [
  {
    wrong: 'a node alone is formed though its source fails',
    find: 'linkedMembers >= Math.max(1, policy.minPeers)',
    put: 'linkedMembers >= policy.minPeers',
  },
  {
    wrong: 'a topology stays formed without its minPeers',
    find: 'linkedMembers >= policy.minPeers && (state.formed || answered)',
    put: 'state.formed || (linkedMembers >= policy.minPeers && answered)',
  },
  {
    wrong: 'a wrong name is suspected for answers that are partial or doubted',
    find: "outcome === 'complete' && !doubted",
    put: "outcome !== 'failed'",
  },
  {
    wrong: 'a condition that lasts is an event at each plan',
    find: 'if (holds === state.reported.includes(condition)) return false',
    put: '',
  },
  {
    wrong: 'a failing source is said to block removals that are not due',
    find: ' &&\n      standing.missedMs >= graceOf(view)',
    put: '',
  },
])

const state = inFile('core/state.ts', [
  {
    wrong: 'who lost its link while it was left out counts as there all the while',
    find: '!missing.linked || linked.has(node)',
    put: 'true',
  },
  {
    wrong: 'after the clock was set back nothing is news until it has caught up',
    find: 'if ((copy.at ?? 0) > now) copy.at = now',
    put: '',
  },
  {
    wrong: 'after the clock was set back misses take time back',
    find: 'if ((copy.answeredAt ?? 0) > now) copy.answeredAt = now',
    put: '',
  },
  {
    wrong: 'the state that was given is changed',
    find: 'leavingClocks: { ...source.leavingClocks },',
    put: '',
  },
  {
    wrong: 'a topology called `constructor` is found in every state',
    find: 'Object.hasOwn(record, key) ? record[key] : undefined',
    put: 'record[key]',
  },
])

const policy = inFile('core/policy.ts', [
  {
    wrong: 'the default of grace is 6 seconds',
    find: 'grace: z._default(durationSchema, 60_000)',
    put: 'grace: z._default(durationSchema, 6_000)',
  },
  {
    wrong: 'by default half the mesh may go at once',
    find: 'z.maximum(1)), 0.3)',
    put: 'z.maximum(1)), 0.5)',
  },
  {
    wrong: 'the default of confirm is shorter than that of grace',
    find: 'confirm: z._default(durationSchema, 300_000)',
    put: 'confirm: z._default(durationSchema, 30_000)',
  },
])

const lease = inFile('core/lease.ts', [
  {
    wrong: 'a pause between two renewals extends nobody',
    find: 'isIdle(at) ? Math.min(at.now - at.clock.lastWriteAt, at.ttlMs) : 0',
    put: '0',
  },
  {
    wrong: 'who is gone when the registry is paused for a day stays listed for a day',
    find: 'Math.min(at.now - at.clock.lastWriteAt, at.ttlMs)',
    put: 'at.now - at.clock.lastWriteAt',
  },
  {
    wrong: 'a registry that was away is believed before all can have renewed',
    find: 'if (now - clock.since < ttlMs) {',
    put: 'if (now - clock.since < 0) {',
  },
  {
    wrong: 'a registry that nobody could renew at for half a lease is believed',
    find: 'if (isIdle(at)) return',
    put: 'if (now < 0) return',
  },
  {
    wrong: 'a node that has left is back with its next renewal',
    find: 'alive?.left === true && alive.member.id === id',
    put: 'alive?.left === true && alive.member.id !== id',
  },
  {
    wrong: 'the end of an old start takes its successor out',
    find: 'if (current.member.id !== id) {',
    put: 'if (current.member.id === undefined) {',
  },
  {
    wrong: 'a tombstone is gone before others have seen it',
    find: 'at.now + leftMs(current, at) + current.ttlMs',
    put: 'at.now + leftMs(current, at)',
  },
  {
    wrong: 'a client chooses how long its lease lasts',
    find: 'Math.min(given.ttlMs ?? at.ttlMs, at.ttlMs)',
    put: 'given.ttlMs ?? at.ttlMs',
  },
  {
    wrong: 'a store deletes a lease that an extension brings back',
    find: 'leftMs(lease, at) <= -at.ttlMs',
    put: 'leftMs(lease, at) <= 0',
  },
])

const revision = inFile('core/revision.ts', [
  {
    wrong: 'the revision depends on the order of the members',
    find: 'canonical.sort()',
    put: 'canonical',
  },
  {
    wrong: 'a source that fails has the revision of one that answers',
    find: '`${outcome} ${source}`',
    put: 'source',
  },
  {
    wrong: 'the revision depends on the order in which meta was written',
    find: '.toSorted(([a], [b]) => (a < b ? -1 : 1))',
    put: '',
  },
  {
    wrong: 'a node that begins to leave changes no revision',
    find: '      status,\n',
    put: '',
  },
])

const node = inFile('core/node.ts', [
  {
    wrong: 'a name with two @ is taken',
    find: '/^[!-?A-~]+@[!-?A-~]+$/',
    put: '/^[!-~]+@[!-~]+$/',
  },
  {
    wrong: 'a name of 256 bytes is taken',
    find: 'text.length <= 255',
    put: 'text.length <= 256',
  },
  {
    wrong: 'an octal number is taken for a part of an address',
    find: '/^(0|[1-9]\\d{0,2})$/',
    put: '/^\\d{1,3}$/',
  },
  {
    wrong: 'the last of the longest runs of zeros is shortened',
    find: 'b.length - a.length',
    put: 'a.length - b.length',
  },
  {
    wrong: 'only 127.0.0.1 itself is loopback',
    find: 'parseIpv4(bare)?.[0] === 127',
    put: "bare === '127.0.0.1'",
  },
])

/** Every fault, by the file that it is made in; its number in the table is its place here, from 1 on. */
export const mutants: readonly Mutant[] = [
  ...plan,
  ...fold,
  ...change,
  ...standing,
  ...dial,
  ...penalty,
  ...report,
  ...state,
  ...policy,
  ...lease,
  ...revision,
  ...node,
]
