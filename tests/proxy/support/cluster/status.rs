//! Refusals as the API says them: a code, and a `Status` with its reason.

use super::resource::Resource;
use serde_json::{Value, json};

/// Why a request was not done.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) code: u16,
    reason: &'static str,
    message: String,
    details: Option<Box<Value>>,
    /// With what an expired page can be gone on from, though no longer consistently.
    next: Option<String>,
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, next: None }
    }

    fn about(mut self, resource: &Resource, name: &str) -> Self {
        let mut details = json!({ "name": name, "kind": resource.plural });
        if !resource.group.is_empty() {
            details["group"] = resource.group.into();
        }
        self.details = Some(Box::new(details));
        self
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// `who` may not do `what`, which is told as the authorizer does.
    pub(super) fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let object = resource.qualified();
        let object = if name.is_empty() { object } else { format!("{object} \"{name}\"") };
        let message = format!("{object} is forbidden: {why}");
        Self::new(403, "Forbidden", message).about(resource, name)
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    pub(super) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(404, "NotFound", message).about(resource, name)
    }

    pub(super) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message)
    }

    pub(super) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).about(resource, name)
    }

    pub(super) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let object = resource.qualified();
        let message = format!("Operation cannot be fulfilled on {object} \"{name}\": {why}");
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// A list or a watch of a version that is no longer kept.
    pub(super) fn gone(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// A page of a version that is no longer kept, and a token for the rest as it is now.
    pub(super) fn page_gone(next: String) -> Self {
        let message = "The provided continue parameter is too old to display a consistent list \
                       result. You can start a new list without the continue parameter, or use \
                       the continue token in this response to retrieve the remainder of the \
                       results. Continuing with the provided token results in an inconsistent list";
        Self { next: Some(next), ..Self::gone(message) }
    }

    pub(super) fn unsupported_media_type(kind: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: \
             application/json, not {kind}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// An object whose fields are wrong, each with what is wrong of it.
    pub(super) fn invalid(kind: &str, name: &str, wrong: &[(String, String)]) -> Self {
        let told: Vec<_> = wrong.iter().map(|(field, why)| format!("{field}: {why}")).collect();
        let causes = wrong.iter().map(
            |(field, why)| json!({ "reason": "FieldValueInvalid", "message": why, "field": field }),
        );
        let details = json!({ "name": name, "kind": kind, "causes": causes.collect::<Vec<_>>() });
        let message = format!("{kind} \"{name}\" is invalid: {}", told.join(", "));
        Self { details: Some(Box::new(details)), ..Self::new(422, "Invalid", message) }
    }

    pub(super) fn internal(why: &str) -> Self {
        Self::new(500, "InternalError", why)
    }

    /// A list of a version that is not there yet.
    pub(super) fn too_large_version(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let cause =
            json!({ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" });
        let details = json!({ "causes": [cause], "retryAfterSeconds": 1 });
        Self { details: Some(Box::new(details)), ..Self::new(504, "Timeout", message) }
    }

    /// What a server in trouble answers to everything.
    pub(super) fn told(code: u16) -> Self {
        let (reason, message) = match code {
            401 => return Self::unauthorized(),
            403 => ("Forbidden", "forbidden: everything"),
            429 => ("TooManyRequests", "Too many requests, please try again later."),
            500 => ("InternalError", "Internal error occurred: as told by the test"),
            503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
            504 => ("Timeout", "Timeout: request did not complete within the allotted timeout"),
            _ => ("", "as told by the test"),
        };
        let details =
            matches!(code, 429 | 503).then(|| Box::new(json!({ "retryAfterSeconds": 1 })));
        Self { details, ..Self::new(code, reason, message) }
    }

    /// After how many seconds to come again.
    pub(super) fn retry_after(&self) -> Option<u64> {
        self.details.as_ref()?.get("retryAfterSeconds")?.as_u64()
    }

    pub(super) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = Value::clone(details);
        }
        if let Some(next) = &self.next {
            status["metadata"]["continue"] = next.as_str().into();
        }
        status
    }
}
