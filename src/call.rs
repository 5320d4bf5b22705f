//! The result of a REST call of the app.

use std::fmt;

use serde_json::Value;

/// The answer to [`Handle::call`](crate::Handle::call).
///
/// Debug does not show the result, because it is data of the customer.
///
/// ```
/// # async fn all(handle: tracing_bizproc::Handle, portal: tracing_bizproc::PortalId)
/// # -> Result<(), tracing_bizproc::error::CallError> {
/// let mut start = Some(0);
/// while let Some(page) = start {
///     let params = format!(r#"{{"select":["ID"],"start":{page}}}"#);
///     let deals = handle.call(Some(&portal), "crm.deal.list", &params).await?;
///     println!("{}", deals.result());
///     start = deals.next();
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq)]
pub struct CallAnswer {
    pub(crate) result: Value,
    pub(crate) next: Option<u64>,
    pub(crate) total: Option<u64>,
}

impl CallAnswer {
    /// The `result`, as JSON.
    pub fn result(&self) -> String {
        self.result.to_string()
    }

    /// The value of `start` for the next page of a list. `None`: this is the last page ("features of list
    /// methods", REST API documentation).
    pub fn next(&self) -> Option<u64> {
        self.next
    }

    /// How many elements a list has in all, if the method returns this.
    pub fn total(&self) -> Option<u64> {
        self.total
    }
}

impl fmt::Debug for CallAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallAnswer")
            .field("next", &self.next)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}
