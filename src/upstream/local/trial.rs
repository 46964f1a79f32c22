//! Endpoints on their return from an ejection: the next request, of any worker, decides.

use super::{LocalEndpoint, Place};
use crate::upstream::outlier::Trial;
use std::cell::RefCell;
use std::rc::Rc;

/// The endpoints on trial when the worker last looked.
#[derive(Debug, Default)]
pub(super) struct Trials(RefCell<Vec<Rc<LocalEndpoint>>>);

impl Trials {
    /// Looks at the endpoints again.
    pub(super) fn renew(&self, endpoints: &[Rc<LocalEndpoint>]) {
        let on_trial = endpoints.iter().filter(|local| local.endpoint.is_on_trial());
        *self.0.borrow_mut() = on_trial.cloned().collect();
    }

    /// A place where the request decides, if it is the first to take one.
    pub(super) fn take(&self) -> Option<Place> {
        self.0.borrow().iter().find_map(|local| {
            let trial = Trial::take(&local.pool, &local.endpoint)?;
            Some(Place::on_trial(Rc::clone(local), trial))
        })
    }
}
