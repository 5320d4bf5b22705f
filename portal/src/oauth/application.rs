//! An application, and what it is on each portal.

use std::time::Duration;

use super::{ACCESS_LIFE, OAuthError};

/// An application, on whichever portals.
pub(crate) struct Application {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(super) installations: Vec<Installation>,
    pub(crate) access_life: Duration,
    /// What every request for tokens is refused with, if it is.
    pub(crate) refusal: Option<OAuthError>,
}

/// An application on one portal.
pub(crate) struct Installation {
    /// What the portal counts it as (`app.info`).
    pub(crate) id: u64,
    pub(super) member_id: String,
    pub(crate) application_token: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) redirect_uri: Option<String>,
    /// Where it is told of its installation, or where its page is; on its domain handlers must be.
    pub(crate) url: Option<String>,
    /// Whether people install it on a page of its own.
    pub(crate) has_page: bool,
    pub(crate) stage: Stage,
    pub(crate) version: u64,
    pub(crate) paid: bool,
    pub(crate) user_has_access: bool,
}

/// How far the installation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The application has a page for its installation and has not said yet that it is done. It
    /// may call, and gets no events.
    Pending,
    Installed,
    Removed,
}

impl Application {
    pub(super) fn new(client_id: String, client_secret: String) -> Self {
        Self {
            client_id,
            client_secret,
            installations: Vec::new(),
            access_life: ACCESS_LIFE,
            refusal: None,
        }
    }

    pub(super) fn installation(&self, member_id: &str) -> Option<&Installation> {
        self.installations.iter().find(|installation| installation.member_id == member_id)
    }
}

impl Installation {
    pub(super) fn new(id: u64, member_id: String, application_token: String) -> Self {
        Self {
            id,
            member_id,
            application_token,
            scopes: vec!["bizproc".to_owned()],
            redirect_uri: None,
            url: None,
            has_page: false,
            stage: Stage::Installed,
            version: 1,
            paid: true,
            user_has_access: true,
        }
    }
}
