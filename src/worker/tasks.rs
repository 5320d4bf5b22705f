//! The tasks of the worker: each sends one request, or asks the transport for something else, and returns its result to
//! the worker. So a portal that is slow holds up nothing else.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};

use super::engine::{Outgoing, Withheld};
use super::gate::Gate;
use super::lane::Renewal;
use crate::line::PortalId;
use crate::protocol::{self, Reply, Request};
use crate::queue::{Accept, Confirm, Forget};
use crate::transport::{Arrived, Confirmed, Question, Refreshed, Transport};

/// All tasks that run.
pub(super) struct Tasks<T> {
    transport: T,
    running: JoinSet<Came>,
    /// The portal of each request. It is known also if the task panics.
    awaited: HashMap<Id, Awaited>,
    /// When the authorization server was asked about unverified requests.
    asked: VecDeque<Instant>,
}

/// The result of a task.
pub(super) enum Came {
    /// With the time when it left, if that was later than it was composed.
    Reply(Outgoing, Reply, Option<Instant>),
    Access(Outgoing, Refreshed),
    /// It has not left, with the access that it was to ask for.
    Withheld(Outgoing, Option<Renewal>, Withheld),
    /// Whether new tokens are used now.
    Accepted(PortalId, Result<bool, protocol::Cause>),
    /// It has panicked, so its result is missing.
    Panicked(Option<Awaited>),
}

/// The expected result of a task.
#[derive(Clone, Copy)]
pub(super) enum Awaited {
    Reply(Outgoing),
    Access(Outgoing),
}

impl Awaited {
    pub(super) fn call(self) -> Outgoing {
        match self {
            Awaited::Reply(call) | Awaited::Access(call) => call,
        }
    }
}

impl<T: Transport> Tasks<T> {
    pub(super) fn new(transport: T) -> Self {
        let (running, awaited) = (JoinSet::new(), HashMap::new());
        Tasks { transport, running, awaited, asked: VecDeque::new() }
    }

    /// The result of the next task that ends. `None`: no task runs. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Came> {
        let joined = self.running.join_next_with_id().await?;
        Some(self.joined(joined))
    }

    /// The result of a task that has ended.
    pub(super) fn try_next(&mut self) -> Option<Came> {
        let joined = self.running.try_join_next_with_id()?;
        Some(self.joined(joined))
    }

    fn joined(&mut self, joined: Result<(Id, Came), JoinError>) -> Came {
        match joined {
            Ok((id, came)) => {
                self.awaited.remove(&id);
                came
            }
            Err(panic) => Came::Panicked(self.awaited.remove(&panic.id())),
        }
    }

    /// Sends a request when it may leave. `noted`: the journal knows that it leaves.
    pub(super) fn send(
        &mut self,
        call: Outgoing,
        portal: Option<PortalId>,
        mut request: Request,
        (gate, noted): (Option<Gate>, Option<oneshot::Receiver<()>>),
    ) {
        let transport = self.transport.clone();
        let sending = async move {
            if let Some(mut noted) = noted {
                // A journal that hangs or has failed must not delay a request for longer. The wait is in steps, so
                // that time in which the process was stopped does not count.
                for _ in 0..NOTED_STEPS {
                    if tokio::time::timeout(NOTED_STEP, &mut noted).await.is_ok() {
                        break;
                    }
                }
            }
            let mut left = None;
            if let Some(gate) = gate {
                match gate.pass(portal.as_ref()).await {
                    Ok(pass) => request.pass = pass,
                    Err(why) => return Came::Withheld(call, None, why),
                }
                left = Some(left_now());
            }
            let pass = request.pass.clone();
            let reply = transport.call(portal.as_ref(), request).await;
            if pass.has_refused() {
                return Came::Withheld(call, None, Withheld::Lapsed);
            }
            Came::Reply(call, reply, left)
        };
        let id = self.running.spawn(sending).id();
        self.awaited.insert(id, Awaited::Reply(call));
    }

    /// Asks for other access to a portal.
    pub(super) fn access(
        &mut self,
        call: Outgoing,
        portal: Option<PortalId>,
        access: Renewal,
        gate: Option<Gate>,
    ) {
        let transport = self.transport.clone();
        let asking = async move {
            if let Some(gate) = gate {
                if let Err(why) = gate.pass(portal.as_ref()).await {
                    return Came::Withheld(call, Some(access), why);
                }
            }
            let refreshed = match access {
                Renewal::Refresh => transport.refresh(portal.as_ref()).await,
                Renewal::Relocate(host) => transport.relocate(portal.as_ref(), &host).await,
            };
            Came::Access(call, refreshed)
        };
        let id = self.running.spawn(asking).id();
        self.awaited.insert(id, Awaited::Access(call));
    }

    /// Stores tokens that have arrived for a portal.
    pub(super) fn accept(&mut self, accept: Accept) {
        let transport = self.transport.clone();
        let Accept { portal, tokens } = accept;
        self.running.spawn(async move {
            let accepted = transport.accept(&portal, tokens).await;
            Came::Accepted(portal, accepted)
        });
    }

    /// Checks whether a portal is where a request says, and stores its tokens if it is.
    pub(super) fn confirm(&mut self, confirm: Confirm, now: Instant) {
        let Confirm { portal, question, reply } = confirm;
        while self.asked.front().is_some_and(|&at| now.saturating_duration_since(at) >= A_MINUTE) {
            self.asked.pop_front();
        }
        if matches!(question, Question::Known(_)) {
            // No server is asked, so it does not count.
        } else if self.asked.len() >= QUESTIONS_A_MINUTE {
            let trouble = "more than 60 unverified requests in a minute".to_owned();
            // The caller may have stopped waiting.
            drop(reply.send(Confirmed::Later(protocol::Cause(trouble))));
            return;
        } else {
            self.asked.push_back(now);
        }
        let transport = self.transport.clone();
        self.running.spawn(async move {
            let confirmed = transport.confirm(&portal, question).await;
            let accepted = match &confirmed {
                Confirmed::Yes(_, Some(tokens)) => {
                    transport.accept(&portal, Arrived::Handed((**tokens).clone())).await
                }
                _ => Ok(false),
            };
            drop(reply.send(match &accepted {
                // Then the app is not installed: it would have no tokens after its next start.
                Err(trouble) => Confirmed::Later(trouble.clone()),
                Ok(_) => confirmed,
            }));
            Came::Accepted(portal, accepted)
        });
    }

    /// Removes what is stored of a portal.
    pub(super) fn forget(&mut self, forget: Forget) {
        let Forget { portal, reply } = forget;
        let transport = self.transport.clone();
        self.running.spawn(async move {
            let forgotten = transport.forget(&portal).await;
            drop(reply.send(forgotten));
            Came::Accepted(portal, Ok(false))
        });
    }
}

/// A request leaves now. It may have waited for its permit.
#[expect(clippy::disallowed_methods, reason = "the worker is told when a request has left")]
fn left_now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Anybody can send unverified requests. The authorization server is asked about at most this number of them
/// in a minute, because an app that asks too often may be blocked.
const QUESTIONS_A_MINUTE: usize = 60;
const A_MINUTE: Duration = Duration::from_secs(60);
/// How long a request waits at most until the journal knows that it leaves.
const NOTED_STEP: Duration = Duration::from_millis(25);
const NOTED_STEPS: usize = 40;
