//! The parts of an activity's request that handlers use most.

use std::time::SystemTime;

use super::Activity;
use crate::activity::{Input, VerifiedActivity};
use crate::line::{EventToken, PortalId};
use crate::request::Property;

impl Activity {
    /// The request, with all its parts.
    pub fn verified(&self) -> &VerifiedActivity {
        &self.verified
    }

    /// The portal: its `member_id`.
    pub fn portal(&self) -> &PortalId {
        self.verified.portal()
    }

    /// The key to the activity's log and to its completion.
    pub fn event_token(&self) -> &EventToken {
        self.verified.event_token()
    }

    /// The activity's code, as the app registered it.
    pub fn code(&self) -> &str {
        self.verified.code()
    }

    /// The workflow's id.
    pub fn workflow_id(&self) -> &str {
        self.verified.workflow_id()
    }

    /// The document: its module, its entity and its id.
    pub fn document_id(&self) -> [&str; 3] {
        self.verified.document_id()
    }

    /// The property of this name, as the template's author set it.
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.verified.property(name)
    }

    /// The property of this name, for conversion to the type that it should have.
    pub fn input<'a>(&'a self, name: &'a str) -> Input<'a> {
        self.verified.input(name)
    }

    /// Whether the activity waits for the app, so that its log is open: see
    /// [`VerifiedActivity::can_log`].
    pub fn can_log(&self) -> bool {
        self.verified.can_log()
    }

    /// When the portal stops waiting: see [`VerifiedActivity::waits_until`].
    pub fn waits_until(&self) -> Option<SystemTime> {
        self.verified.waits_until()
    }
}
