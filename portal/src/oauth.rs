//! The OAuth server: applications, their grants, and the tokens that come of them.
//!
//! One server serves all portals of a process. It decides; `server/oauth.rs` does the HTTP.

mod app;
mod token;

pub use app::{App, Tokens};
pub use token::OAuthError;
pub(crate) use token::{Issued, TokenRequest};

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::UnixTime;
use crate::limits::MeteredAs;
use crate::random::Random;
use crate::rest::{Caller, ErrorCode};

/// How long an access token lives (OAuth 2.0 protocol).
const ACCESS_LIFE: Duration = Duration::from_secs(3600);
/// How long a refresh token lives (OAuth 2.0 protocol).
const REFRESH_LIFE: Duration = Duration::from_secs(180 * 24 * 3600);
/// How long an authorization code lives (OAuth 2.0 protocol).
const CODE_LIFE: Duration = Duration::from_secs(30);

/// All applications and tokens.
pub(crate) struct OAuthServer {
    random: Random,
    apps: Vec<Application>,
    codes: HashMap<String, Grant>,
    access: HashMap<String, Grant>,
    refresh: HashMap<String, Grant>,
}

struct Application {
    client_id: String,
    client_secret: String,
    installations: Vec<Installation>,
    access_life: Duration,
    /// What every request for tokens is refused with, if it is.
    refusal: Option<OAuthError>,
}

/// An application on one portal.
struct Installation {
    member_id: String,
    application_token: String,
    scopes: Vec<String>,
    redirect_uri: Option<String>,
    installed: bool,
    paid: bool,
    user_has_access: bool,
}

/// What a token or a code stands for.
#[derive(Clone)]
struct Grant {
    client_id: String,
    member_id: String,
    user: u64,
    expires: UnixTime,
}

impl OAuthServer {
    pub(crate) fn new(random: Random) -> Self {
        Self {
            random,
            apps: Vec::new(),
            codes: HashMap::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
        }
    }

    /// Registers an application, and returns its client id.
    pub(crate) fn register(&mut self) -> String {
        let client_id = format!("local.{}", &self.random.hex()[..14]);
        self.apps.push(Application {
            client_id: client_id.clone(),
            client_secret: self.random.hex(),
            installations: Vec::new(),
            access_life: ACCESS_LIFE,
            refusal: None,
        });
        client_id
    }

    /// Installs an application on a portal, where it may be installed already.
    pub(crate) fn install(&mut self, client_id: &str, member_id: &str) {
        let application_token = self.random.hex();
        let Some(app) = self.apps.iter_mut().find(|app| app.client_id == client_id) else { return };
        if app.installation(member_id).is_some() {
            return;
        }
        app.installations.push(Installation {
            member_id: member_id.to_owned(),
            application_token,
            scopes: vec!["bizproc".to_owned()],
            redirect_uri: None,
            installed: true,
            paid: true,
            user_has_access: true,
        });
    }

    /// Lets an access token in at the portal `member_id`.
    pub(crate) fn admit(
        &self,
        token: &str,
        member_id: &str,
        now: UnixTime,
    ) -> Result<Caller, ErrorCode> {
        let grant = self.access.get(token).filter(|grant| grant.member_id == member_id);
        let grant = grant.ok_or(ErrorCode::InvalidToken)?;
        if grant.expires <= now {
            return Err(ErrorCode::ExpiredToken);
        }
        let installation = self.installation(grant).filter(|installation| installation.installed);
        let installation = installation.ok_or(ErrorCode::ApplicationNotFound)?;
        if !installation.paid {
            return Err(ErrorCode::PaymentRequired);
        }
        if !installation.user_has_access {
            return Err(ErrorCode::UserAccessError);
        }
        Ok(Caller {
            user: grant.user,
            scopes: installation.scopes.clone(),
            metered_as: MeteredAs::Application(grant.client_id.clone()),
        })
    }

    fn app(&self, client_id: &str) -> Option<&Application> {
        self.apps.iter().find(|app| app.client_id == client_id)
    }

    fn installation(&self, grant: &Grant) -> Option<&Installation> {
        self.app(&grant.client_id)?.installation(&grant.member_id)
    }
}

impl Application {
    fn installation(&self, member_id: &str) -> Option<&Installation> {
        self.installations.iter().find(|installation| installation.member_id == member_id)
    }
}
