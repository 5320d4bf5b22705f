//! `App`: an application that is installed on a portal, for tests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixTime;
use crate::core::Core;
use crate::credentials::ADMIN;
use crate::oauth::{Application, Installation, Issued, OAuthError};
use crate::outgoing;

/// An application on one portal.
#[derive(Clone)]
pub struct App {
    core: Arc<Core>,
    client_id: String,
}

/// A pair of tokens. `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tokens {
    /// The access token, for calls.
    pub access_token: String,
    /// The refresh token, for a new pair. It can be used once.
    pub refresh_token: String,
    /// When the access token expires.
    pub expires: UnixTime,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("client_id", &self.client_id)
            .field("member_id", &self.core.identity.member_id)
            .finish_non_exhaustive()
    }
}

impl App {
    /// Installs an application, or a new one, on a portal.
    pub(crate) fn install(core: Arc<Core>, client_id: Option<&str>) -> Self {
        let mut oauth = core.cloud.oauth();
        let client_id = client_id.map_or_else(|| oauth.register(), str::to_owned);
        oauth.install(&client_id, &core.identity.member_id);
        drop(oauth);
        Self { core, client_id }
    }

    /// A handle on an application that is installed on a portal.
    pub(crate) fn of(core: Arc<Core>, client_id: String) -> Self {
        Self { core, client_id }
    }

    /// Its `client_id`, the same on every portal.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Its `client_secret`, the same on every portal.
    pub fn client_secret(&self) -> String {
        self.with_app(|app| app.client_secret.clone())
    }

    /// The `application_token` of handler requests of this portal.
    pub fn application_token(&self) -> String {
        self.with_installation(|installation| installation.application_token.clone())
    }

    /// A fresh pair of tokens for user 1, the administrator.
    pub fn issue_tokens(&self) -> Tokens {
        self.issue_tokens_for(ADMIN)
    }

    /// The same for another user, who is not an administrator.
    pub fn issue_tokens_for(&self, user: u64) -> Tokens {
        let now = self.core.clock.now();
        let issued = self.core.cloud.oauth().issue(&self.client_id, self.member_id(), user, now);
        let issued = issued.expect("a handle is only given out for an installation");
        let Issued { access_token, refresh_token, expires, .. } = issued;
        Tokens { access_token, refresh_token, expires }
    }

    /// A code for the grant `authorization_code`, valid for 30 seconds.
    pub fn authorization_code(&self) -> String {
        let now = self.core.clock.now();
        self.core.cloud.oauth().authorize(&self.client_id, self.member_id(), ADMIN, now)
    }

    /// Where `/oauth/authorize/` sends the user back to.
    pub fn set_redirect_uri(&self, uri: impl Into<String>) {
        self.with_installation(|installation| installation.redirect_uri = Some(uri.into()));
    }

    /// How long access tokens are valid from now on, in whole seconds. Default: an hour.
    pub fn set_access_life(&self, life: Duration) {
        self.with_app(|app| app.access_life = life);
    }

    /// Lets all access tokens of this installation expire now.
    pub fn expire_access_tokens(&self) {
        let now = self.core.clock.now();
        self.core.cloud.oauth().expire_access_tokens(&self.client_id, self.member_id(), now);
    }

    /// Forgets the refresh tokens of this installation, as if another client had used them:
    /// `invalid_grant`. Access tokens work until they expire.
    pub fn spend_refresh_tokens(&self) {
        self.core.cloud.oauth().spend_refresh_tokens(&self.client_id, self.member_id());
    }

    /// Forgets every token of this installation: `invalid_token`, and `invalid_grant`.
    pub fn revoke_tokens(&self) {
        self.core.cloud.oauth().revoke_tokens(&self.client_id, self.member_id());
    }

    /// Sends the install event: `url` gets ONAPPINSTALL with the first tokens,
    /// as an application without a page does. Handlers must be on the domain of this URL from now
    /// on.
    pub fn install_at(&self, url: &str) {
        outgoing::install_by_event(&self.core, &self.client_id, url);
    }

    /// Opens the page on which the application is installed, as a browser's frame does. Until
    /// [`finish_installation`](Self::finish_installation) it may call and gets no events.
    pub fn install_on_page(&self, url: &str) {
        outgoing::install_by_page(&self.core, &self.client_id, url);
    }

    /// The page says that the installation is done (`BX24.installFinish`): handlers that are bound to
    /// ONAPPINSTALL get the event.
    pub fn finish_installation(&self) {
        outgoing::finish_installation(&self.core, &self.client_id);
    }

    /// Opens the application's page, as a browser's frame does.
    pub fn open_page(&self) {
        outgoing::open_page(&self.core, &self.client_id);
    }

    /// Installs the next version: activities, robots and handlers of events are gone, handlers
    /// that were bound to ONAPPUPDATE get the event, and the installation starts again.
    pub fn update(&self) {
        outgoing::update(&self.core, &self.client_id, false);
    }

    /// The same, with another `application_token` in everything that is sent from now on.
    pub fn update_with_new_token(&self) {
        outgoing::update(&self.core, &self.client_id, true);
    }

    /// Removes the application from the portal: APPLICATION_NOT_FOUND, and `invalid_client`. Those
    /// who are bound to ONAPPUNINSTALL hear of it.
    pub fn uninstall(&self) {
        outgoing::uninstall(&self.core, &self.client_id);
    }

    /// The same, with the request to delete the data of the application, too (`CLEAN`).
    pub fn uninstall_and_clean(&self) {
        outgoing::clean_uninstall(&self.core, &self.client_id);
    }

    /// Whether the subscription is paid. If it is not, every call gets PAYMENT_REQUIRED.
    pub fn set_paid(&self, paid: bool) {
        self.with_installation(|installation| installation.paid = paid);
    }

    /// Whether the user may use the application. If not, calls get `user_access_error`.
    pub fn set_user_access(&self, access: bool) {
        self.with_installation(|installation| installation.user_has_access = access);
    }

    /// The scopes of the application. Default: `bizproc`.
    pub fn set_scopes<S: Into<String>>(&self, scopes: impl IntoIterator<Item = S>) {
        let scopes = scopes.into_iter().map(Into::into).collect();
        self.with_installation(|installation| installation.scopes = scopes);
    }

    /// Refuses every request for tokens with this error, until it is called with `None`.
    pub fn refuse_tokens(&self, refusal: Option<OAuthError>) {
        self.with_app(|app| app.refusal = refusal);
    }

    fn member_id(&self) -> &str {
        &self.core.identity.member_id
    }

    fn with_app<T>(&self, change: impl FnOnce(&mut Application) -> T) -> T {
        let mut oauth = self.core.cloud.oauth();
        change(
            oauth.app_mut(&self.client_id).expect("a handle is only given out for an application"),
        )
    }

    fn with_installation<T>(&self, change: impl FnOnce(&mut Installation) -> T) -> T {
        let mut oauth = self.core.cloud.oauth();
        let there = oauth.installation_mut(&self.client_id, self.member_id());
        change(there.expect("a handle is only given out for an installation"))
    }
}
