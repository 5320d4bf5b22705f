//! The transport over HTTP: timeouts, body cap, no redirect, nothing secret in errors.
