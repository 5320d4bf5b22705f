//! Whether an unverified request comes from the portal that it names.

use std::time::Duration;

use serde_json::Value;

use super::renew::renewed;
use super::{Grants, PLAIN_HTTP_WHY};
use crate::line::PortalId;
use crate::protocol::call::{self, Called};
use crate::protocol::grant::{Answer, Granted};
use crate::protocol::reply::Code;
use crate::protocol::{Cause, command};
use crate::transport::auth::endpoint::Endpoint;
use crate::transport::auth::tokens::Tokens;
use crate::transport::http::{Clients, JSON};
use crate::transport::{Confirmed, Question};

impl Grants {
    /// Checks whether a request comes from this portal. The authorization server says to which portal the
    /// tokens belong and where that is. Then the portal must accept them.
    ///
    /// If the server cannot be asked, the app must have listed the host.
    pub(in crate::transport) async fn confirm(
        &self,
        portal: &PortalId,
        question: Question,
        clients: &Clients,
    ) -> Confirmed {
        let installs = matches!(question, Question::Install(_));
        let tokens = match question {
            Question::Known(tokens) => {
                return Confirmed::Yes(tokens.endpoint().clone(), Some(Box::new(tokens)));
            }
            Question::Renamed(endpoint, tokens) if self.is_listed(&endpoint) => {
                return match self.oauth.allows(&endpoint) {
                    true => Confirmed::Yes(endpoint, tokens.map(Box::new)),
                    false => no(PLAIN_HTTP_WHY),
                };
            }
            Question::Renamed(endpoint, None) => return no(cannot_be_asked(&endpoint)),
            Question::Renamed(_, Some(tokens)) | Question::Install(tokens) => tokens,
        };
        // The portal sends such a request only once, so a temporary failure is repeated a few times.
        let mut pauses = PAUSES.into_iter();
        let tokens = loop {
            match self.owned(portal, tokens.clone(), clients).await {
                Ok(tokens) => break tokens,
                Err(answer) if !pause(&answer, &mut pauses).await => return answer,
                Err(_) => {}
            }
        };
        loop {
            match self.is_taken(&tokens, installs, clients).await {
                Ok(()) => {
                    return Confirmed::Yes(tokens.endpoint().clone(), Some(Box::new(tokens)));
                }
                Err(answer) if !pause(&answer, &mut pauses).await => return answer,
                Err(_) => {}
            }
        }
    }

    /// The new tokens, if they belong to this portal. The old refresh token is not valid any more.
    async fn owned(
        &self,
        portal: &PortalId,
        tokens: Tokens,
        clients: &Clients,
    ) -> Result<Tokens, Confirmed> {
        let listed = self.is_listed(tokens.endpoint());
        if !tokens.can_be_renewed() {
            return if listed { Ok(tokens) } else { Err(no(cannot_be_asked(tokens.endpoint()))) };
        }
        match self.ask(&tokens, clients).await {
            Answer::Granted(granted) if granted.member_id.as_deref() != Some(portal.as_str()) => {
                Err(no("the tokens belong to another portal"))
            }
            Answer::Granted(Granted { client_endpoint: None, .. }) if !listed => {
                Err(no("the authorization server does not say where the portal is"))
            }
            Answer::Granted(granted) => Ok(renewed(&tokens, granted)),
            Answer::Denied(code) => Err(Confirmed::No(code)),
            Answer::Later(trouble) => Err(Confirmed::Later(trouble)),
        }
    }

    /// Whether the portal accepts the access token. For an installation it must belong to an administrator:
    /// other users have tokens of the app, too, after they have opened its page.
    async fn is_taken(
        &self,
        tokens: &Tokens,
        installs: bool,
        clients: &Clients,
    ) -> Result<(), Confirmed> {
        if !self.oauth.allows(tokens.endpoint()) {
            return Err(no(PLAIN_HTTP_WHY));
        }
        let mut body = b"{}".to_vec();
        command::authorize(&mut body, tokens.access());
        let reply = clients.post(tokens.endpoint().named("profile"), JSON, body).await;
        match call::read(&reply) {
            Called::Done(answer) => {
                let is_other = answer.result.get("ADMIN").is_some_and(is_no);
                if installs && is_other { Err(no(NO_ADMINISTRATOR)) } else { Ok(()) }
            }
            Called::Unknown(trouble) => Err(Confirmed::Later(trouble)),
            Called::Refused(refusal, _) if refusal.is_final() => Err(no(refusal.to_string())),
            Called::Refused(refusal, _) => Err(Confirmed::Later(Cause(refusal.to_string()))),
        }
    }
}

/// Waits, if another try makes sense.
async fn pause(answer: &Confirmed, pauses: &mut impl Iterator<Item = Duration>) -> bool {
    match (answer, pauses.next()) {
        (Confirmed::Later(_), Some(pause)) => {
            tokio::time::sleep(pause).await;
            true
        }
        _ => false,
    }
}

/// Short, because a handler waits for the answer.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];

/// Whether the portal means "no": JSON `false`, `N`, `0`, or an empty text.
fn is_no(value: &Value) -> bool {
    *value == Value::Bool(false)
        || value.as_str().is_some_and(|text| matches!(text, "N" | "0" | ""))
}

const NO_ADMINISTRATOR: &str = "the tokens do not belong to an administrator of the portal, and only an \
                                administrator can install an app";

fn no(why: impl Into<String>) -> Confirmed {
    Confirmed::No(Code(why.into()))
}

fn cannot_be_asked(endpoint: &Endpoint) -> String {
    format!(
        "without a refresh token the authorization server cannot confirm that the portal is at {0}: if \
         this is correct, add {0} to `OAuth::hosts`",
        endpoint.host()
    )
}
