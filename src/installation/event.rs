//! What a portal posts when the app is installed, updated or removed.

use std::fmt;

use super::claim::Claim;
use crate::error::RequestError;
use crate::line::PortalId;
use crate::request::{self, Array, Node, optional, required, seconds};

/// What a portal posts when the app is installed: the event `ONAPPINSTALL`, or the request of the app's
/// install page. It is parsed, and not verified yet: see
/// [`Installations::install`](crate::app::Installations::install).
///
/// The request of an install page may have no `application_token`. Its `APP_SID` is another value, and is never
/// used for it.
///
/// ```
/// # async fn handler(
/// #     installations: tracing_bizproc::app::Installations,
/// #     (query, content_type, body): (&str, Option<&str>, &[u8]),
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use tracing_bizproc::app::InstallRequest;
///
/// let request = InstallRequest::parse(query, content_type, body)?;
/// let portal = installations.install(request).await?;
/// println!("installed on {portal}");
/// # Ok(()) }
/// ```
pub struct InstallRequest {
    pub(crate) claim: Claim,
    version: Option<String>,
    is_page: bool,
}

impl InstallRequest {
    /// Parses a request: its query (the part of the address behind `?`; empty for the event), its
    /// content type and its body.
    ///
    /// # Errors
    /// When it is not such a request. See [`RequestError`].
    pub fn parse(
        query: &str,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<Self, RequestError> {
        match AppRequest::parse(query, content_type, body)? {
            AppRequest::Install(request) => Ok(request),
            other => Err(other.unexpected()),
        }
    }

    /// The portal that the request claims to come from.
    pub fn claimed_portal(&self) -> &PortalId {
        &self.claim.portal
    }

    /// The version of the app, as the event names it.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Whether it is the install page's request and not the event: a user waits for a page, and the
    /// portal sends no events before the page has called `BX24.installFinish` ("installation wizard",
    /// REST API documentation).
    pub fn is_page(&self) -> bool {
        self.is_page
    }

    /// The install page's request: names in its query are in capitals, and so are those of the tokens.
    fn of_page(mut query: Array, mut body: Array) -> Result<Self, RequestError> {
        let mut named = |field| match optional(&mut query, field)? {
            Some(value) => Ok(Some(value)),
            // Some portals repeat these in the body.
            None => optional(&mut body, field),
        };
        let domain = named("DOMAIN")?.ok_or(RequestError::Missing { field: "DOMAIN" })?;
        let scheme = match named("PROTOCOL")?.as_deref() {
            Some("0") => "http",
            None | Some("1") => "https",
            Some(_) => return Err(RequestError::Invalid { field: "PROTOCOL" }),
        };
        // Only a host is allowed: no path, no user, and no port hidden in another way.
        if domain.contains(['/', '\\', '@', '?', '#']) {
            return Err(RequestError::Invalid { field: "DOMAIN" });
        }
        // It has their lifetime, but not its start, so it is not known when they expire.
        seconds(&mut body, "AUTH_EXPIRES")?;
        let claim = Claim {
            portal: PortalId::from(required(&mut body, "member_id")?),
            application_token: optional(&mut body, "APPLICATION_TOKEN")?,
            endpoint: format!("{scheme}://{domain}/rest/"),
            access_token: Some(required(&mut body, "AUTH_ID")?),
            refresh_token: optional(&mut body, "REFRESH_ID")?,
            expires: 0,
            server: optional(&mut body, "SERVER_ENDPOINT")?,
            user_id: None,
        };
        Ok(InstallRequest { claim, version: None, is_page: true })
    }
}

/// The event `ONAPPUPDATE`: a new version of the app is on the portal. The app's activities, robots
/// and event bindings are gone there, and it may bring another application token.
///
/// With the REST module 26.800 or newer, portals do not send `ONAPPINSTALL` after an update to apps with an
/// installation wizard. Then this event is the only notice.
///
/// ```
/// use tracing_bizproc::app::{Installations, UpdateRequest};
/// use tracing_bizproc::error::InstallError;
///
/// async fn take(installations: &Installations, request: UpdateRequest) -> Result<(), InstallError> {
///     let portal = installations.update(request).await?;
///     println!("update: {portal}");
///     Ok(())
/// }
/// # drop(take);
/// ```
pub struct UpdateRequest {
    pub(crate) claim: Claim,
    version: Option<String>,
    previous_version: Option<String>,
}

impl UpdateRequest {
    /// Parses the event.
    ///
    /// # Errors
    /// When it is not such a request. See [`RequestError`].
    pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Self, RequestError> {
        match AppRequest::parse("", content_type, body)? {
            AppRequest::Update(request) => Ok(request),
            other => Err(other.unexpected()),
        }
    }

    /// The portal that the request claims to come from.
    pub fn claimed_portal(&self) -> &PortalId {
        &self.claim.portal
    }

    /// The new version of the app.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The previous version of the app.
    pub fn previous_version(&self) -> Option<&str> {
        self.previous_version.as_deref()
    }
}

/// The event `ONAPPUNINSTALL`: the app was removed from the portal. It brings no usable tokens.
///
/// ```
/// use tracing_bizproc::app::{Installations, UninstallRequest};
/// use tracing_bizproc::error::InstallError;
///
/// async fn take(installations: &Installations, request: UninstallRequest) -> Result<(), InstallError> {
///     let portal = installations.uninstall(request).await?;
///     println!("uninstall: {portal}");
///     Ok(())
/// }
/// # drop(take);
/// ```
pub struct UninstallRequest {
    pub(crate) claim: Claim,
    clean: bool,
}

impl UninstallRequest {
    /// Parses the event.
    ///
    /// # Errors
    /// When it is not such a request. See [`RequestError`].
    pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Self, RequestError> {
        match AppRequest::parse("", content_type, body)? {
            AppRequest::Uninstall(request) => Ok(request),
            other => Err(other.unexpected()),
        }
    }

    /// The portal that the request claims to come from.
    pub fn claimed_portal(&self) -> &PortalId {
        &self.claim.portal
    }

    /// Whether the user asked to delete the app's data of the portal, too (`CLEAN`).
    pub fn clean(&self) -> bool {
        self.clean
    }
}

/// A request about the installation, an update or the removal of the app: for a handler of all of them.
///
/// ```
/// # use tracing_bizproc::app::AppRequest;
/// # use tracing_bizproc::error::RequestError;
/// # fn handler(query: &str, content_type: Option<&str>, body: &[u8]) -> Result<(), RequestError> {
/// match AppRequest::parse(query, content_type, body)? {
///     AppRequest::Install(request) => println!("installed on {}", request.claimed_portal()),
///     AppRequest::Update(request) => println!("updated on {}", request.claimed_portal()),
///     AppRequest::Uninstall(request) => println!("removed from {}", request.claimed_portal()),
///     _ => {}
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum AppRequest {
    /// The app is installed.
    Install(InstallRequest),
    /// A new version is on the portal.
    Update(UpdateRequest),
    /// The app was removed.
    Uninstall(UninstallRequest),
}

impl AppRequest {
    /// Parses a request. Its kind follows from its `event`, or from the fields of an install page.
    ///
    /// # Errors
    /// When it is none of these. See [`RequestError`].
    pub fn parse(
        query: &str,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<Self, RequestError> {
        let mut body = request::read(content_type, body)?;
        let Some(event) = optional(&mut body, "event")? else {
            if body.get_mut("AUTH_ID").is_none() {
                return Err(RequestError::Missing { field: "event" });
            }
            let page = InstallRequest::of_page(request::query(query)?, body)?;
            return Ok(AppRequest::Install(page));
        };
        let mut data = match body.take("data") {
            Some(Node::Array(data)) => data,
            Some(Node::Text(text)) if !text.is_empty() => {
                return Err(RequestError::WrongType { field: "data" });
            }
            // PHP writes an empty array as nothing.
            _ => Array::default(),
        };
        let claim = Claim::of(&mut request::array(&mut body, "auth")?)?;
        let mut said = |field| optional(&mut data, field);
        Ok(match event.to_ascii_uppercase().as_str() {
            "ONAPPINSTALL" => {
                let version = said("VERSION")?;
                AppRequest::Install(InstallRequest { claim, version, is_page: false })
            }
            "ONAPPUPDATE" => {
                let (version, previous_version) = (said("VERSION")?, said("PREVIOUS_VERSION")?);
                AppRequest::Update(UpdateRequest { claim, version, previous_version })
            }
            "ONAPPUNINSTALL" => {
                let clean = said("CLEAN")?;
                let clean = matches!(clean.as_deref(), Some("1" | "Y" | "y" | "true"));
                AppRequest::Uninstall(UninstallRequest { claim, clean })
            }
            _ => return Err(RequestError::Invalid { field: "event" }),
        })
    }

    /// The portal that the request claims to come from.
    pub fn claimed_portal(&self) -> &PortalId {
        &self.claim().portal
    }

    /// What the request says about its sender.
    pub(crate) fn claim(&self) -> &Claim {
        match self {
            AppRequest::Install(InstallRequest { claim, .. })
            | AppRequest::Update(UpdateRequest { claim, .. })
            | AppRequest::Uninstall(UninstallRequest { claim, .. }) => claim,
        }
    }

    /// It is a request of another kind.
    fn unexpected(self) -> RequestError {
        RequestError::Invalid { field: "event" }
    }
}

impl fmt::Debug for InstallRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstallRequest")
            .field("portal", &self.claim.portal.as_str())
            .field("is_page", &self.is_page)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for UpdateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateRequest")
            .field("portal", &self.claim.portal.as_str())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for UninstallRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UninstallRequest")
            .field("portal", &self.claim.portal.as_str())
            .field("clean", &self.clean)
            .finish_non_exhaustive()
    }
}
