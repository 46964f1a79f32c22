//! The service accounts that were given tokens, and what the roles that are there let them do.

use super::rbac::Rbac;
use super::resource::{Call, Resource};
use super::status::Failure;
use super::store::Store;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Whose each token is.
#[derive(Default)]
pub(super) struct Accounts(BTreeMap<String, Account>);

/// A service account.
#[derive(Debug, Clone)]
pub(super) struct Account {
    namespace: String,
    name: String,
    uid: String,
}

impl Accounts {
    /// Gives a new token to an account that is there (`TokenRequest` of authentication.k8s.io).
    pub(super) fn issue(
        &mut self,
        store: &Store,
        call: &Call,
        body: &Value,
    ) -> Result<Value, Failure> {
        /// Ten minutes.
        const SECONDS_MIN: i64 = 600;
        let (namespace, name) = (call.namespace.as_deref(), call.name.as_deref());
        let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
        let account = store.object(call.resource, namespace, name);
        let account = account.ok_or_else(|| Failure::not_found(call.resource, name))?;
        let seconds = body["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
        if seconds < SECONDS_MIN {
            let why = "Invalid value: may not specify a duration less than 10 minutes".to_owned();
            let wrong = ("spec.expirationSeconds".to_owned(), why);
            return Err(Failure::invalid("TokenRequest.authentication.k8s.io", "", &[wrong]));
        }
        let uid = account["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let token = format!("token-{}-of-{namespace}-{name}", self.0.len());
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.0.insert(token.clone(), Account { namespace, name, uid });
        let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        let expires = expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        Ok(json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
            "spec": { "audiences": body["spec"]["audiences"], "expirationSeconds": seconds },
            "status": { "token": token, "expirationTimestamp": expires },
        }))
    }

    /// Whose a token is; nobody's once the account is deleted.
    pub(super) fn of(&self, token: &str, store: &Store) -> Option<Account> {
        let account = self.0.get(token)?;
        let all = Resource::named("serviceaccounts");
        let there = store.object(all, &account.namespace, &account.name)?;
        (there["metadata"]["uid"] == account.uid).then(|| account.clone())
    }
}

impl Account {
    /// What it may do now.
    pub(super) fn rights(&self, store: &Store) -> Rbac {
        let kinds = ["roles", "rolebindings"].into_iter();
        let all = kinds.filter_map(|kind| store.at(Resource::named(kind), store.version).ok());
        let objects = all.flat_map(BTreeMap::into_values);
        let objects: Vec<Value> = objects.map(|object| Value::clone(&object)).collect();
        Rbac::new(&self.namespace, &self.name, &objects)
    }
}
