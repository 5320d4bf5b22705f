//! The OAuth server: applications, grants and tokens.
//!
//! One server serves all portals of a process. It decides; `server/oauth.rs` does the HTTP.

mod application;
mod token;

pub(crate) use application::{Application, Installation, Stage};
pub use token::OAuthError;
pub(crate) use token::{Issued, TokenRequest};

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::UnixTime;
use crate::credentials::{Caller, Membership};
use crate::error::ErrorCode;
use crate::limits::MeteredAs;
use crate::random::Random;

/// How long an access token is valid (OAuth 2.0 protocol).
const ACCESS_LIFE: Duration = Duration::from_secs(3600);
/// How long a refresh token is valid (OAuth 2.0 protocol).
const REFRESH_LIFE: Duration = Duration::from_secs(180 * 24 * 3600);
/// How long an authorization code is valid (OAuth 2.0 protocol).
const CODE_LIFE: Duration = Duration::from_secs(30);

/// All applications and tokens.
pub(crate) struct OAuthServer {
    random: Random,
    apps: Vec<Application>,
    codes: HashMap<String, Grant>,
    access: HashMap<String, Grant>,
    refresh: HashMap<String, Grant>,
}

/// What a token or a code grants.
#[derive(Clone)]
struct Grant {
    client_id: String,
    member_id: String,
    user: u64,
    expires: UnixTime,
}

impl Grant {
    fn is_of(&self, client_id: &str, member_id: &str) -> bool {
        self.client_id == client_id && self.member_id == member_id
    }
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
        let (client_id, secret) =
            (format!("local.{}", &self.random.hex()[..14]), self.random.hex());
        self.apps.push(Application::new(client_id.clone(), secret));
        client_id
    }

    /// Installs an application on a portal, where it may be installed already.
    pub(crate) fn install(&mut self, client_id: &str, member_id: &str) {
        let application_token = self.random.hex();
        let id = self.apps.iter().map(|app| app.installations.len() as u64).sum::<u64>() + 1;
        let Some(app) = self.app_mut(client_id) else { return };
        if app.installation(member_id).is_none() {
            let member_id = member_id.to_owned();
            app.installations.push(Installation::new(id, member_id, application_token));
        }
    }

    /// The id of an application's page that is being opened.
    pub(crate) fn session(&mut self) -> String {
        self.random.hex()
    }

    /// Another secret for handler requests, as an update of the application may bring.
    pub(crate) fn renew_application_token(&mut self, client_id: &str, member_id: &str) {
        let fresh = self.random.hex();
        if let Some(there) = self.installation_mut(client_id, member_id) {
            there.application_token = fresh;
        }
    }

    /// Verifies an access token for the portal `member_id`.
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
        let installation = self.installation(&grant.client_id, &grant.member_id);
        let installation = installation.filter(|there| there.stage != Stage::Removed);
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
            application: Some(Membership {
                client_id: grant.client_id.clone(),
                member_id: grant.member_id.clone(),
            }),
        })
    }

    /// The portal that an access token is for.
    pub(crate) fn portal_of(&self, token: &str) -> Option<&str> {
        self.access.get(token).map(|grant| grant.member_id.as_str())
    }

    /// Lets all access tokens of an installation expire now.
    pub(crate) fn expire_access_tokens(&mut self, client_id: &str, member_id: &str, now: UnixTime) {
        for grant in self.access.values_mut().filter(|grant| grant.is_of(client_id, member_id)) {
            grant.expires = now;
        }
    }

    /// Forgets the refresh tokens of an installation, as if another client had used them.
    pub(crate) fn spend_refresh_tokens(&mut self, client_id: &str, member_id: &str) {
        self.refresh.retain(|_, grant| !grant.is_of(client_id, member_id));
    }

    /// Forgets every token of an installation.
    pub(crate) fn revoke_tokens(&mut self, client_id: &str, member_id: &str) {
        for tokens in [&mut self.access, &mut self.refresh, &mut self.codes] {
            tokens.retain(|_, grant| !grant.is_of(client_id, member_id));
        }
    }

    pub(crate) fn app(&self, client_id: &str) -> Option<&Application> {
        self.apps.iter().find(|app| app.client_id == client_id)
    }

    pub(crate) fn app_mut(&mut self, client_id: &str) -> Option<&mut Application> {
        self.apps.iter_mut().find(|app| app.client_id == client_id)
    }

    /// The applications of a portal, removed ones included, and what they are there.
    pub(crate) fn installations_at<'a>(
        &'a self,
        member_id: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Installation)> {
        let there = |app: &'a Application| {
            app.installation(member_id).map(|there| (app.client_id.as_str(), there))
        };
        self.apps.iter().filter_map(there)
    }

    pub(crate) fn installation(&self, client_id: &str, member_id: &str) -> Option<&Installation> {
        self.app(client_id)?.installation(member_id)
    }

    pub(crate) fn installation_mut(
        &mut self,
        client_id: &str,
        member_id: &str,
    ) -> Option<&mut Installation> {
        let mut installations = self.app_mut(client_id)?.installations.iter_mut();
        installations.find(|there| there.member_id == member_id)
    }
}
