//! Feature `axum`: a handler takes a [`VerifiedActivity`] as an argument.

use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;

use axum_core::extract::{DefaultBodyLimit, FromRef, FromRequest, Request};
use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::request::{ActivityRequest, Installation};
use super::verified::VerifiedActivity;
use crate::error::{ActivityError, ActivityRejection};
use crate::line::PortalId;
use crate::transport::auth::CredentialFuture;

/// What an app knows of the portals on which it is installed. A map is one.
///
/// A state from which `Arc<dyn Installations>` can be taken (axum's `FromRef`) lets its handlers
/// take a [`VerifiedActivity`].
pub trait Installations: Send + Sync + 'static {
    /// The installation on this portal; `None` if there is none.
    fn installation<'a>(
        &'a self,
        portal: &'a PortalId,
    ) -> CredentialFuture<'a, Option<Installation>>;
}

impl Installations for HashMap<PortalId, Installation> {
    fn installation<'a>(
        &'a self,
        portal: &'a PortalId,
    ) -> CredentialFuture<'a, Option<Installation>> {
        Box::pin(ready(Ok(self.get(portal).cloned())))
    }
}

/// Reads at most 1 MiB, and believes only what is [verified](ActivityRequest::verify).
impl<S> FromRequest<S> for VerifiedActivity
where
    S: Send + Sync,
    Arc<dyn Installations>: FromRef<S>,
{
    type Rejection = ActivityRejection;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, ActivityRejection> {
        let installations = Arc::<dyn Installations>::from_ref(state);
        DefaultBodyLimit::max(ActivityRequest::MAX_BYTES).apply(&mut request);
        let kind = request.headers().get(CONTENT_TYPE).cloned();
        let kind = kind.as_ref().and_then(|kind| kind.to_str().ok());
        let body = Bytes::from_request(request, &()).await.map_err(|rejection| match rejection
            .status()
        {
            StatusCode::PAYLOAD_TOO_LARGE => ActivityError::TooLarge.into(),
            _ => ActivityRejection::Body(rejection.into()),
        })?;
        let request = ActivityRequest::parse(kind, &body)?;
        let installation = installations
            .installation(request.claimed_portal())
            .await
            .map_err(ActivityRejection::Lookup)?
            .ok_or(ActivityRejection::UnknownPortal)?;
        Ok(request.verify(&installation)?)
    }
}

/// The status, and words for whoever set the handler up. What is forged is not told why.
impl IntoResponse for ActivityRejection {
    fn into_response(self) -> Response {
        let status = match &self {
            ActivityRejection::Request(ActivityError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            ActivityRejection::Request(ActivityError::ContentType) => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            ActivityRejection::Request(_) | ActivityRejection::Body(_) => StatusCode::BAD_REQUEST,
            ActivityRejection::UnknownPortal | ActivityRejection::Verify(_) => {
                return StatusCode::FORBIDDEN.into_response();
            }
            ActivityRejection::Lookup(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, self.to_string()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use axum_core::body::Body;

    use super::*;
    use crate::transport::auth::Hosts;

    const BODY: &str = "event_token=5e.1|A1|3.ab&auth[member_id]=m&auth[application_token]=t0ken&\
        auth[client_endpoint]=https://a.example/rest/";

    /// An app's state that has more in it.
    #[derive(Clone)]
    struct App(Arc<dyn Installations>);

    impl FromRef<App> for Arc<dyn Installations> {
        fn from_ref(app: &App) -> Self {
            Arc::clone(&app.0)
        }
    }

    fn app(portal: &str, application_token: &str) -> App {
        let installation = Installation::new(application_token, Hosts::from(["a.example"]));
        App(Arc::new(HashMap::from([(PortalId::from(portal), installation)])))
    }

    #[expect(clippy::result_large_err, reason = "the response is what axum rejects with")]
    fn extract(app: &App, kind: &str, body: impl Into<Body>) -> Result<VerifiedActivity, Response> {
        let request = Request::post("/handler").header(CONTENT_TYPE, kind).body(body.into());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let extracted = VerifiedActivity::from_request(request.unwrap(), app);
        runtime.block_on(extracted).map_err(IntoResponse::into_response)
    }

    const FORM: &str = "application/x-www-form-urlencoded";

    #[test]
    fn a_handler_gets_a_verified_activity() {
        let activity = extract(&app("m", "t0ken"), FORM, BODY).unwrap();
        assert_eq!(activity.portal().as_str(), "m");
    }

    #[test]
    fn what_is_not_verified_is_answered_by_its_status() {
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
            let refused = extract(&app, kind, body).unwrap_err();
            assert_eq!(refused.status().as_u16(), status, "{kind}");
        }
    }
}
