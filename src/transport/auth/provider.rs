//! Access through the app's own code: several webhooks, a vault, a service that gives out tokens.

use std::collections::HashMap;
use std::fmt;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;

use super::endpoint::Endpoint;
use super::store::CredentialFuture;
use super::webhook::Webhook;
use crate::error::EndpointError;
use crate::line::PortalId;
use crate::protocol::reply::Code;
use crate::protocol::{Cause, Method};
use crate::transport::caught::{Panicked, caught};
use crate::transport::{NoAccess, Refreshed};

/// What is needed to call a portal: a webhook, or an address and an access token.
///
/// Debug shows the host and no secret.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tracing_bizproc::auth::{Access, Webhook};
///
/// let one = Access::webhook(Webhook::new("https://acme.bitrix24.com/rest/1/secret/")?);
/// let other = Access::token("https://box.example/rest/", "an access token")?;
/// assert!(!format!("{one:?} {other:?}").contains("secret"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Access(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Webhook(Webhook),
    Token { endpoint: Endpoint, access_token: String },
}

impl Access {
    /// Through a webhook.
    pub fn webhook(webhook: Webhook) -> Self {
        Access(Kind::Webhook(webhook))
    }

    /// With an access token, at the portal's `client_endpoint`.
    ///
    /// # Errors
    /// When it is not an https address (http is allowed for loopback hosts). See [`EndpointError`].
    pub fn token(
        client_endpoint: &str,
        access_token: impl Into<String>,
    ) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::parse(client_endpoint)?;
        Ok(Access(Kind::Token { endpoint, access_token: access_token.into() }))
    }

    /// As [`token`](Access::token), but also accepts plain http to any host. Then everybody between the app
    /// and the portal can read the access token and use it.
    ///
    /// # Errors
    /// As [`token`](Access::token).
    pub fn token_over_http(
        client_endpoint: &str,
        access_token: impl Into<String>,
    ) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::parse_with_http(client_endpoint)?;
        Ok(Access(Kind::Token { endpoint, access_token: access_token.into() }))
    }

    /// The address of a method, and the access token for the body.
    pub(in crate::transport) fn to(&self, method: &Method) -> (Url, Option<&str>) {
        match &self.0 {
            Kind::Webhook(webhook) => (webhook.method(method), None),
            Kind::Token { endpoint, access_token } => (endpoint.method(method), Some(access_token)),
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Webhook(webhook) => write!(f, "Access({webhook})"),
            Kind::Token { endpoint, .. } => write!(f, "Access({})", endpoint.as_str()),
        }
    }
}

/// Gives access to portals, if [`Webhook`] and [`OAuth`](super::OAuth) do not fit.
///
/// A map from portals to webhooks implements it.
///
/// ```
/// use tracing_bizproc::PortalId;
/// use tracing_bizproc::auth::{Access, AccessProvider, CredentialFuture, Credentials};
///
/// /// A service of the company that gives out access tokens.
/// struct Vault;
///
/// impl Vault {
///     async fn token(&self, portal: &PortalId, renew: bool) -> Result<String, std::io::Error> {
///         # let _ = (portal, renew);
///         // ..
///         # Ok("an access token".to_owned())
///     }
/// }
///
/// impl AccessProvider for Vault {
///     fn access<'a>(
///         &'a self,
///         portal: Option<&'a PortalId>,
///         refused: Option<&'a Access>,
///     ) -> CredentialFuture<'a, Option<Access>> {
///         Box::pin(async move {
///             let Some(portal) = portal else { return Ok(None) };
///             let access_token = self.token(portal, refused.is_some()).await?;
///             Ok(Some(Access::token("https://acme.bitrix24.com/rest/", access_token)?))
///         })
///     }
/// }
///
/// let builder = tracing_bizproc::builder(Credentials::provider(Vault));
/// # drop(builder);
/// ```
pub trait AccessProvider: Send + Sync + 'static {
    /// Access to a portal; `None` if there is none. Called once per portal, and again when the portal
    /// has refused the access as expired or invalid: `refused` is that access, and another one is
    /// needed.
    ///
    /// It is awaited on the worker's thread, for 10 s at most; see [`on_thread`](super::on_thread) for work
    /// that blocks. Delivery to the portal waits for it, so a flush inside of it returns an error at once.
    fn access<'a>(
        &'a self,
        portal: Option<&'a PortalId>,
        refused: Option<&'a Access>,
    ) -> CredentialFuture<'a, Option<Access>>;
}

impl AccessProvider for HashMap<PortalId, Webhook> {
    fn access<'a>(
        &'a self,
        portal: Option<&'a PortalId>,
        _refused: Option<&'a Access>,
    ) -> CredentialFuture<'a, Option<Access>> {
        let webhook = portal.and_then(|portal| self.get(portal));
        Box::pin(ready(Ok(webhook.cloned().map(Access::webhook))))
    }
}

/// The access that a provider has given, for each portal.
pub(in crate::transport) struct Provided {
    provider: Arc<dyn AccessProvider>,
    portals: Mutex<HashMap<Option<PortalId>, Arc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    /// The access in use.
    held: Mutex<Option<Access>>,
    /// The access of the last call.
    used: Mutex<Option<Access>>,
    /// Locked while the provider is asked: one question at a time.
    asking: tokio::sync::Mutex<()>,
}

impl Provided {
    pub(in crate::transport) fn new(provider: Arc<dyn AccessProvider>) -> Self {
        Provided { provider, portals: Mutex::default() }
    }

    /// The access to call the portal with.
    pub(in crate::transport) async fn access(
        &self,
        portal: Option<&PortalId>,
    ) -> Result<Access, NoAccess> {
        let slot = self.slot(portal);
        let _one_at_a_time = slot.asking.lock().await;
        let held = lock(&slot.held).clone();
        let access = match held {
            Some(access) => access,
            None => {
                let Some(access) = self.ask(portal, None).await? else {
                    self.forget(portal, &slot);
                    return Err(NoAccess::Unknown("there is no access to this portal"));
                };
                access
            }
        };
        *lock(&slot.held) = Some(access.clone());
        *lock(&slot.used) = Some(access.clone());
        Ok(access)
    }

    /// The access of the last call was refused: gets another.
    pub(in crate::transport) async fn refresh(&self, portal: Option<&PortalId>) -> Refreshed {
        let slot = self.slot(portal);
        let _one_at_a_time = slot.asking.lock().await;
        let refused = lock(&slot.used).clone();
        if *lock(&slot.held) != refused {
            return Refreshed::Renewed;
        }
        match self.ask(portal, refused.as_ref()).await {
            Err(trouble) => Refreshed::Later(trouble),
            Ok(access) if access.is_none() || access == refused => {
                Refreshed::Denied(Code("no other access".to_owned()))
            }
            Ok(access) => {
                *lock(&slot.held) = access;
                Refreshed::Renewed
            }
        }
    }

    async fn ask(
        &self,
        portal: Option<&PortalId>,
        refused: Option<&Access>,
    ) -> Result<Option<Access>, Cause> {
        // Called inside, because it may panic before it returns a future.
        let asking = async {
            let access = self.provider.access(portal, refused).await;
            access.map_err(|error| Cause(format!("the access provider failed: {error}")))
        };
        match tokio::time::timeout(PATIENCE, caught(asking)).await {
            Ok(Ok(access)) => access,
            Ok(Err(Panicked)) => Err(Cause("the access provider panicked".to_owned())),
            Err(_) => Err(Cause("the access provider did not answer in time".to_owned())),
        }
    }

    /// Remembers nothing about unknown portals, because spans may name any number of them.
    fn forget(&self, portal: Option<&PortalId>, slot: &Arc<Slot>) {
        let mut portals = lock(&self.portals);
        // Only the map and this function refer to it, so it is not in use.
        if Arc::strong_count(slot) == 2 {
            portals.remove(&portal.cloned());
        }
    }

    fn slot(&self, portal: Option<&PortalId>) -> Arc<Slot> {
        Arc::clone(lock(&self.portals).entry(portal.cloned()).or_default())
    }
}

/// How long a provider may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// No code panics in the middle of a change, so the value is consistent also if it is poisoned.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    fn access(name: &str) -> Access {
        Access::token("https://a.example/rest/", name).unwrap()
    }

    /// Gives `s3cret0`, `s3cret1`, and no third.
    #[derive(Default)]
    struct Two(AtomicUsize);

    impl AccessProvider for Two {
        fn access<'a>(
            &'a self,
            _portal: Option<&'a PortalId>,
            refused: Option<&'a Access>,
        ) -> CredentialFuture<'a, Option<Access>> {
            let asked = self.0.fetch_add(1, Ordering::SeqCst);
            let expected = (asked > 0).then(|| access(&format!("s3cret{}", asked - 1)));
            assert_eq!(refused, expected.as_ref());
            let given = (asked < 2).then(|| access(&format!("s3cret{asked}")));
            Box::pin(ready(Ok(given)))
        }
    }

    #[test]
    fn a_provider_is_asked_once_and_again_when_refused() {
        let provider = Arc::new(Two::default());
        let provided = Provided::new(provider.clone());
        run(async {
            for _ in 0..3 {
                assert_eq!(provided.access(None).await, Ok(access("s3cret0")));
            }
            // Callers that wait for the same answer share it.
            let both = tokio::join!(provided.refresh(None), provided.refresh(None));
            assert_eq!(both, (Refreshed::Renewed, Refreshed::Renewed));
            assert_eq!(provided.access(None).await, Ok(access("s3cret1")));
            assert!(matches!(provided.refresh(None).await, Refreshed::Denied(_)));
        });
        assert_eq!(provider.0.load(Ordering::SeqCst), 3);
        assert!(!format!("{:?}", access("s3cret0")).contains("s3cret"));
    }

    /// Panics at every call: before there is a future, or in it.
    struct Panics(bool);

    impl AccessProvider for Panics {
        fn access<'a>(
            &'a self,
            _portal: Option<&'a PortalId>,
            _refused: Option<&'a Access>,
        ) -> CredentialFuture<'a, Option<Access>> {
            assert!(!self.0, "on purpose");
            Box::pin(async { panic!("on purpose") })
        }
    }

    #[test]
    fn a_panic_of_a_provider_is_a_temporary_failure() {
        let expected = Cause("the access provider panicked".to_owned());
        for at_once in [true, false] {
            let provided = Provided::new(Arc::new(Panics(at_once)));
            run(async {
                for _ in 0..2 {
                    let access = provided.access(None).await;
                    assert_eq!(access, Err(NoAccess::Later(expected.clone())));
                    assert_eq!(provided.refresh(None).await, Refreshed::Later(expected.clone()));
                }
            });
        }
    }

    #[test]
    fn a_map_of_webhooks_gives_each_portal_its_own() {
        let webhook = |host: &str| Webhook::new(format!("https://{host}/rest/1/c0de/")).unwrap();
        let (a, b) = (PortalId::from("a"), PortalId::from("b"));
        let map =
            HashMap::from([(a.clone(), webhook("a.example")), (b.clone(), webhook("b.example"))]);
        let provided = Provided::new(Arc::new(map));
        run(async {
            for (portal, host) in [(&a, "a.example"), (&b, "b.example")] {
                let access = provided.access(Some(portal)).await.unwrap();
                let (url, access_token) = access.to(&Method::Batch);
                assert_eq!(url.as_str(), format!("https://{host}/rest/1/c0de/batch"));
                assert_eq!(access_token, None);
                // There is no other access for a webhook.
                assert!(matches!(provided.refresh(Some(portal)).await, Refreshed::Denied(_)));
            }
            assert!(provided.access(None).await.is_err());
            for n in 0..100 {
                assert!(provided.access(Some(&PortalId::from(format!("{n}")))).await.is_err());
            }
            assert_eq!(lock(&provided.portals).len(), 2, "nothing is kept of unknown ones");
        });
    }
}
