//! Registrations of applications on a portal: activities, robots, and handlers of events.

use super::property::Declared;
use crate::settings::BlankSubscription;

/// Everything that applications have registered at one portal.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    registrations: Vec<Registration>,
    bindings: Vec<Binding>,
}

/// Activities stand in templates of workflows, robots in the columns of a pipeline. Their codes
/// share one space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Activity,
    Robot,
}

/// An activity or a robot of an application.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) client_id: String,
    pub(crate) kind: Kind,
    pub(crate) code: String,
    pub(crate) name: String,
    pub(crate) handler: String,
    /// Whose token the handler gets; nothing for that of the one who has started the workflow.
    pub(crate) auth_user: Option<u64>,
    /// Whether it waits for the application, if the registration says so.
    pub(crate) subscription: Option<bool>,
    pub(crate) properties: Vec<Declared>,
    pub(crate) return_properties: Vec<Declared>,
}

/// A handler of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) client_id: String,
    /// In upper case.
    pub(crate) event: String,
    pub(crate) handler: String,
    /// 0 for the user who has caused the event.
    pub(crate) auth_type: u64,
}

impl Registration {
    pub(crate) fn waits(&self, blank: BlankSubscription) -> bool {
        self.subscription.unwrap_or(blank == BlankSubscription::Waits)
    }
}

impl Registry {
    /// Takes a registration, unless the application has one with this code.
    pub(crate) fn add(&mut self, registration: Registration) -> bool {
        let taken = self.find(&registration.client_id, &registration.code).is_some();
        if !taken {
            self.registrations.push(registration);
        }
        !taken
    }

    fn find(&self, client_id: &str, code: &str) -> Option<&Registration> {
        let mut own = self.registrations.iter();
        own.find(|known| known.client_id == client_id && known.code == code)
    }

    /// The registration of this kind and code, to be changed.
    pub(crate) fn get_mut(
        &mut self,
        client_id: &str,
        kind: Kind,
        code: &str,
    ) -> Option<&mut Registration> {
        self.registrations
            .iter_mut()
            .find(|known| known.client_id == client_id && known.kind == kind && known.code == code)
    }

    pub(crate) fn remove(&mut self, client_id: &str, kind: Kind, code: &str) -> bool {
        let before = self.registrations.len();
        self.registrations.retain(|known| {
            known.client_id != client_id || known.kind != kind || known.code != code
        });
        self.registrations.len() < before
    }

    /// Everything, in the order of registration.
    pub(crate) fn all(&self) -> &[Registration] {
        &self.registrations
    }

    /// The first registration with this code, of whichever application.
    pub(crate) fn by_code(&self, code: &str) -> Option<&Registration> {
        self.registrations.iter().find(|known| known.code == code)
    }

    /// Takes a handler; false if it was there.
    pub(crate) fn bind(&mut self, binding: Binding) -> bool {
        let fresh = !self.bindings.contains(&binding);
        if fresh {
            self.bindings.push(binding);
        }
        fresh
    }

    /// Removes the handlers that `goes` names, and says how many they were.
    pub(crate) fn unbind(&mut self, goes: impl Fn(&Binding) -> bool) -> usize {
        let before = self.bindings.len();
        self.bindings.retain(|binding| !goes(binding));
        before - self.bindings.len()
    }

    pub(crate) fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// Forgets everything of an application: what its update and its removal do (server
    /// behaviour). Returns the handlers that were bound.
    pub(crate) fn forget(&mut self, client_id: &str) -> Vec<Binding> {
        self.registrations.retain(|known| known.client_id != client_id);
        let (gone, kept) =
            self.bindings.drain(..).partition(|binding| binding.client_id == client_id);
        self.bindings = kept;
        gone
    }
}
