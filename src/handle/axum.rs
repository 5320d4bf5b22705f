//! Feature `axum`: a handler gets an [`Opened`] activity, a [`VerifiedActivity`] or an [`AppRequest`] as
//! an argument.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum_core::extract::{DefaultBodyLimit, FromRef, FromRequest, Request};
use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::installations::SILENCE;
use super::{Installations, Opened, after};
use crate::activity::{ActivityRequest, VerifiedActivity};
use crate::error::{ActivityRejection, InstallError, RequestError};
use crate::installation::AppRequest;

/// Reads at most 1 MiB, accepts only verified requests, and recognizes a portal that was renamed: see
/// [`Installations::verify`]. A request that was delivered before is [`Opened::Again`].
impl<S> FromRequest<S> for Opened
where
    S: Send + Sync,
    Installations: FromRef<S>,
{
    type Rejection = ActivityRejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, ActivityRejection> {
        let installations = Installations::from_ref(state);
        let verified = VerifiedActivity::from_request(request, state).await?;
        Ok(installations.open(verified))
    }
}

/// As [`Opened`], but does not open the activity: [`Handle::activity`](crate::Handle::activity) does
/// that.
impl<S> FromRequest<S> for VerifiedActivity
where
    S: Send + Sync,
    Installations: FromRef<S>,
{
    type Rejection = ActivityRejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, ActivityRejection> {
        let Posted { content_type, body, .. } = Posted::read(request).await?;
        let request = ActivityRequest::parse(content_type.as_deref(), &body).map_err(unreadable)?;
        Installations::from_ref(state).verify(request).await
    }
}

/// Reads at most 1 MiB. The request is not verified yet: pass it to [`Installations::handle`].
impl<S: Send + Sync> FromRequest<S> for AppRequest {
    type Rejection = ActivityRejection;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ActivityRejection> {
        let Posted { query, content_type, body } = Posted::read(request).await?;
        Ok(AppRequest::parse(&query, content_type.as_deref(), &body).map_err(unreadable)?)
    }
}

/// Reports a request that cannot be read, at most once a minute, because anybody can post anything. If it is the
/// portal's, its workflow waits, and nobody reads the answer.
fn unreadable(error: RequestError) -> RequestError {
    static TOLD: Mutex<Option<Instant>> = Mutex::new(None);
    let now = after(Duration::ZERO);
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.is_none_or(|at| now.saturating_duration_since(at) >= SILENCE) {
        *told = Some(now);
        drop(told);
        tracing::warn!(
            target: "tracing_bizproc",
            parent: None,
            why = %error,
            "a request to a handler cannot be read"
        );
    }
    error
}

/// What was posted.
struct Posted {
    query: String,
    content_type: Option<String>,
    body: Bytes,
}

impl Posted {
    async fn read(mut request: Request) -> Result<Self, ActivityRejection> {
        DefaultBodyLimit::max(ActivityRequest::MAX_BYTES).apply(&mut request);
        let content_type = request.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = Bytes::from_request(request, &()).await;
        let body = body.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => RequestError::TooLarge.into(),
            _ => ActivityRejection::Body(rejection.into()),
        })?;
        Ok(Posted { query, content_type, body })
    }
}

/// The status, and an explanation for the person who sets up the handler. A forged request gets no
/// explanation.
impl IntoResponse for ActivityRejection {
    fn into_response(self) -> Response {
        let status = match &self {
            ActivityRejection::Request(RequestError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            ActivityRejection::Request(RequestError::ContentType) => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            ActivityRejection::Request(_) | ActivityRejection::Body(_) => StatusCode::BAD_REQUEST,
            ActivityRejection::UnknownPortal | ActivityRejection::Verify(_) => {
                return StatusCode::FORBIDDEN.into_response();
            }
            ActivityRejection::Unconfirmed { .. } => {
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            }
            ActivityRejection::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, self.to_string()).into_response()
    }
}

/// Only the status, because anybody can post anything.
impl IntoResponse for InstallError {
    fn into_response(self) -> Response {
        match self {
            InstallError::NoApplicationToken | InstallError::NoTokens => StatusCode::BAD_REQUEST,
            InstallError::Verify(_) | InstallError::Denied { .. } | InstallError::UnknownPortal => {
                StatusCode::FORBIDDEN
            }
            InstallError::Later { .. }
            | InstallError::Raced
            | InstallError::Worker(_)
            | InstallError::Registration(_) => StatusCode::SERVICE_UNAVAILABLE,
            InstallError::Store(_) | InstallError::TokensRemain { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
        .into_response()
    }
}

#[cfg(test)]
mod tests {
    use axum_core::body::Body;

    use super::*;
    use crate::installation::{Installation, InstallationStore};
    use crate::line::PortalId;
    use crate::transport::auth::{Hosts, MemoryStore, OAuth};

    const BODY: &str = "event_token=5e.1|A1|3.ab&auth[member_id]=m&auth[application_token]=t0ken&\
        auth[client_endpoint]=https://a.example/rest/";

    /// The state of an app, with more than the installations.
    struct App {
        installations: Installations,
        _guard: crate::WorkerGuard,
    }

    impl FromRef<App> for Installations {
        fn from_ref(app: &App) -> Self {
            app.installations.clone()
        }
    }

    fn app(portal: &str, application_token: &str) -> App {
        let store = std::sync::Arc::new(MemoryStore::new());
        let installation = Installation::new(application_token, Hosts::from(["a.example"]));
        let portal = PortalId::from(portal);
        let stored = store.swap_installation(&portal, None, Some(&installation));
        assert!(wait(stored).unwrap());
        let oauth = OAuth::new("app", "secret", std::sync::Arc::clone(&store));
        let built = crate::builder(oauth).build::<tracing_subscriber::Registry>();
        let guard = built.unwrap().1;
        App { installations: Installations::new(guard.handle(), store), _guard: guard }
    }

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[expect(clippy::result_large_err, reason = "the response is what axum rejects with")]
    fn extract<T: FromRequest<App, Rejection = ActivityRejection>>(
        app: &App,
        kind: &str,
        body: impl Into<Body>,
    ) -> Result<T, Response> {
        let request = Request::post("/handler?DOMAIN=a.example").header(CONTENT_TYPE, kind);
        let extracted = T::from_request(request.body(body.into()).unwrap(), app);
        wait(extracted).map_err(IntoResponse::into_response)
    }

    const FORM: &str = "application/x-www-form-urlencoded";

    #[test]
    fn a_handler_gets_a_verified_activity() {
        let app = app("m", "t0ken");
        let activity: VerifiedActivity = extract(&app, FORM, BODY).unwrap();
        assert_eq!(activity.portal().as_str(), "m");
        let first: Opened = extract(&app, FORM, BODY).unwrap();
        let Opened::Again(again) = extract(&app, FORM, BODY).unwrap() else {
            panic!("a second one")
        };
        assert!(again.is_open());
        drop(first);
    }

    #[test]
    fn a_handler_gets_an_app_request() {
        let app = app("m", "t0ken");
        for (body, is_expected) in [
            ("AUTH_ID=a&member_id=m", (|r| matches!(r, AppRequest::Install(_))) as fn(_) -> bool),
            ("event=ONAPPUNINSTALL&auth[member_id]=m&auth[application_token]=t", |r| {
                matches!(r, AppRequest::Uninstall(_))
            }),
        ] {
            assert!(is_expected(extract::<AppRequest>(&app, FORM, body).unwrap()), "{body}");
        }
        assert_eq!(extract::<AppRequest>(&app, FORM, "a=1").unwrap_err().status().as_u16(), 400);
        let denied = InstallError::Denied { why: "s3cret".to_owned() }.into_response();
        assert_eq!(denied.status().as_u16(), 403);
    }

    #[test]
    fn a_rejected_request_is_answered_with_the_status_for_its_reason() {
        let app = app("m", "t0ken");
        let big = "x".repeat(ActivityRequest::MAX_BYTES + 1);
        for (kind, body, status) in [
            (FORM, "a=1".to_owned(), 400),
            ("application/json", "{".to_owned(), 400),
            ("text/plain", BODY.to_owned(), 415),
            (FORM, big, 413),
            (FORM, BODY.replace("t0ken", "other"), 403),
            (FORM, BODY.replace("a.example", "evil.example"), 403),
            (FORM, BODY.replace("member_id]=m", "member_id]=other"), 403),
        ] {
            let refused = extract::<VerifiedActivity>(&app, kind, body).unwrap_err();
            assert_eq!(refused.status().as_u16(), status, "{kind}");
        }
    }
}
