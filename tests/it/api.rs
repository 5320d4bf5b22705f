//! Guarantees of the compiler for public types.

use tracing_bizproc::app::*;
use tracing_bizproc::auth::*;
use tracing_bizproc::config::*;
use tracing_bizproc::error::*;
use tracing_bizproc::logger::*;
use tracing_bizproc::stats::*;
use tracing_bizproc::{fields, format, *};

fn is_shared_by_threads<T: Send + Sync + ?Sized>() {}

fn is_sent_between_threads<T: Send>() {}

#[test]
fn all_public_types_are_send_and_sync() {
    is_shared_by_threads::<Access>();
    is_shared_by_threads::<Activity>();
    is_shared_by_threads::<ActivityRejection>();
    is_shared_by_threads::<ActivityRequest>();
    is_shared_by_threads::<AppRequest>();
    is_shared_by_threads::<Handle>();
    is_shared_by_threads::<BizprocLayer<tracing_subscriber::Registry>>();
    is_shared_by_threads::<BuildError>();
    is_shared_by_threads::<Builder>();
    is_shared_by_threads::<CallAnswer>();
    is_shared_by_threads::<CallError>();
    is_shared_by_threads::<CompleteError>();
    is_shared_by_threads::<Completion>();
    is_shared_by_threads::<CredentialError>();
    is_shared_by_threads::<Credentials>();
    is_shared_by_threads::<DateFormat>();
    is_shared_by_threads::<DateFormatError>();
    is_shared_by_threads::<Description>();
    is_shared_by_threads::<DropReason>();
    is_shared_by_threads::<EndpointError>();
    is_shared_by_threads::<EventToken>();
    is_shared_by_threads::<FileStore>();
    is_shared_by_threads::<WorkerError>();
    is_shared_by_threads::<FlushReport>();
    is_shared_by_threads::<Hosts>();
    is_shared_by_threads::<Input<'_>>();
    is_shared_by_threads::<InstallError>();
    is_shared_by_threads::<InstallRequest>();
    is_shared_by_threads::<Installation>();
    is_shared_by_threads::<Installations>();
    is_shared_by_threads::<InvalidEventToken>();
    is_shared_by_threads::<Config>();
    is_shared_by_threads::<ConfigError>();
    is_shared_by_threads::<fields::Fields>();
    is_shared_by_threads::<Health>();
    is_shared_by_threads::<format::Line<'_>>();
    is_shared_by_threads::<format::LineTime>();
    is_shared_by_threads::<dyn format::Format>();
    is_shared_by_threads::<dyn format::Wording>();
    is_shared_by_threads::<BizprocLogger<env_logger::Logger>>();
    is_shared_by_threads::<LogScope>();
    is_sent_between_threads::<Scoped<std::future::Ready<()>>>();
    is_shared_by_threads::<MemoryStore>();
    is_shared_by_threads::<OAuth>();
    is_shared_by_threads::<OAuthError>();
    is_shared_by_threads::<Opened>();
    is_shared_by_threads::<Overflow>();
    is_shared_by_threads::<Parameter>();
    is_shared_by_threads::<PortalId>();
    is_shared_by_threads::<PortalSnapshot>();
    is_shared_by_threads::<Property>();
    is_shared_by_threads::<PropertyError>();
    is_shared_by_threads::<Quota>();
    is_shared_by_threads::<Registered>();
    is_shared_by_threads::<Registration>();
    is_shared_by_threads::<RegistrationError>();
    is_shared_by_threads::<Repeat>();
    is_shared_by_threads::<RequestError>();
    is_shared_by_threads::<Retention>();
    is_shared_by_threads::<ReturnValue>();
    is_shared_by_threads::<ShutdownReport>();
    is_shared_by_threads::<SiteDate>();
    is_shared_by_threads::<Snapshot>();
    is_shared_by_threads::<Tokens>();
    is_shared_by_threads::<TransportError>();
    is_shared_by_threads::<UninstallRequest>();
    is_shared_by_threads::<UnknownOutcome>();
    is_shared_by_threads::<UpdateRequest>();
    is_shared_by_threads::<ValueKind>();
    is_shared_by_threads::<VerifiedActivity>();
    is_shared_by_threads::<VerifyError>();
    is_shared_by_threads::<Webhook>();
    is_shared_by_threads::<WebhookError>();
    is_shared_by_threads::<WorkerGuard>();
    is_shared_by_threads::<dyn AccessProvider>();
    is_shared_by_threads::<dyn InstallationStore>();
    is_shared_by_threads::<dyn TokenStore>();
    is_sent_between_threads::<CredentialFuture<'_, ()>>();
}
