// Lets the official JavaScript SDK do what the Rust test asks for, one JSON line each way.
//
//   in   {"do": "log", "event_token": "..", "message": ".."}        and so on, see `tasks`
//   out  {"answer": {..}}
//
// The SDK is used as it was published. Two things around it are ours:
//
// - Time. A pause of the SDK is told ({"sleep": milliseconds}) instead of slept through; the test
//   moves the portal's clock as far and says {"woken": true}. Every line that comes in tells what
//   time it is at the portal ("now"), and so it is here.
// - Addresses. Webhook, client endpoint and server endpoint (the OAuth server) are parameters of
//   the SDK; here they are all the portal's. Node trusts the portal's authority through
//   NODE_EXTRA_CA_CERTS.

import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

// The transport's own timeout, which stays what it is.
const TRANSPORT_TIMEOUT = 30_000
// Shorter timers are bookkeeping, not pauses.
const SHORTEST_PAUSE = 100

const require = createRequire(pathToFileURL(join(process.env.JUDGE_PACKAGES, 'package.json')))
const { B24Hook, B24OAuth } = require('@bitrix24/b24jssdk')

const say = (value) => process.stdout.write(JSON.stringify(value) + '\n')

let now = 0
const wakers = []
const realSetTimeout = globalThis.setTimeout
Date.now = () => now
globalThis.setTimeout = (wake, pause = 0, ...rest) => {
  if (pause < SHORTEST_PAUSE || pause === TRANSPORT_TIMEOUT) {
    return realSetTimeout(wake, pause, ...rest)
  }
  wakers.push(() => wake(...rest))
  say({ sleep: pause })
}

const log = ({ event_token, message }) => ({
  method: 'bizproc.activity.log',
  params: { EVENT_TOKEN: event_token, LOG_MESSAGE: message },
})

const call = async (b24, command) => {
  const answer = await b24.actions.v2.call.make(command)
  return { result: answer.getData().result, time: answer.getData().time }
}

let hook
let app
let renewed = false

const tasks = {
  webhook: async ({ url }) => {
    hook = B24Hook.fromWebhookUrl(url)
    hook.offClientSideWarning()
    return {}
  },
  install: async ({ root, tokens, client_id, client_secret, member_id }) => {
    app = new B24OAuth(
      {
        applicationToken: '',
        userId: 1,
        memberId: member_id,
        accessToken: tokens.access_token,
        refreshToken: tokens.refresh_token,
        expires: tokens.expires,
        expiresIn: 3600,
        scope: 'bizproc',
        domain: new URL(root).host,
        clientEndpoint: `${root}rest/`,
        serverEndpoint: `${root}rest/`,
        status: 'L',
      },
      { clientId: client_id, clientSecret: client_secret },
    )
    app.offClientSideWarning()
    app.setCallbackRefreshAuth(async () => { renewed = true })
    return {}
  },
  log: (task) => call(hook, log(task)),
  log_as_app: async (task) => {
    renewed = false
    const answer = await call(app, log(task))
    return { ...answer, renewed }
  },
  batch: async ({ commands, halt }) => {
    const calls = commands.map((command) => {
      const { method, params } = log(command)
      return [method, params]
    })
    const options = { isHaltOnError: halt, returnAjaxResult: true }
    const answer = await hook.actions.v2.batch.make({ calls, options })
    const outcomes = answer.getData().map((row) => {
      return row.isSuccess ? { result: row.getData().result } : { error: [...row.errors.values()][0].code }
    })
    return { outcomes }
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line)
  now = message.now
  if (message.woken) {
    wakers.shift()()
    continue
  }
  // Not awaited: the lines that wake the SDK come through this loop.
  tasks[message.do](message).then(
    (answer) => say({ answer }),
    (error) => say({ answer: { error: error.code ?? 'unknown', status: error.status, kind: error.name } }),
  )
}
