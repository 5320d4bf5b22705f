//! Templates of workflows: which activities a workflow comes to, one after the other.

use crate::clock::UnixTime;
use crate::php::Value;

/// The type of the documents that the portal's workflows are about: deals.
pub(crate) const DOCUMENT_TYPE: [&str; 3] = ["crm", "CCrmDocumentDeal", "DEAL"];

/// A template.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) steps: Steps,
    pub(crate) modified: UnixTime,
}

/// What a workflow of a template comes to.
#[derive(Clone, Debug)]
pub(crate) enum Steps {
    /// Every activity that is registered when the workflow starts, in the order of registration.
    Registered,
    Listed(Vec<Step>),
}

/// One activity of a template.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) code: String,
    /// The values of its properties that differ from their defaults.
    pub(crate) properties: Value<'static>,
}

/// The templates of a portal. The first one is there from the start.
#[derive(Debug)]
pub(crate) struct Templates(Vec<Template>);

impl Templates {
    pub(crate) fn new(now: UnixTime) -> Self {
        let name = "Every registered activity".to_owned();
        Self(vec![Template { id: 1, name, steps: Steps::Registered, modified: now }])
    }

    /// Adds a template and returns its id.
    pub(crate) fn add(&mut self, name: &str, steps: Vec<Step>, now: UnixTime) -> u64 {
        let id = self.0.len() as u64 + 1;
        let steps = Steps::Listed(steps);
        self.0.push(Template { id, name: name.to_owned(), steps, modified: now });
        id
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Template> {
        self.0.iter().find(|template| template.id == id)
    }

    pub(crate) fn all(&self) -> &[Template] {
        &self.0
    }
}
