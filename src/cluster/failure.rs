//! Why the API did not give what it was asked for.

use std::error::Error;
use std::time::Duration;

/// The most bytes of what is told of a failure: whoever stands before the API may answer with a page.
const MESSAGE_BYTES_MAX: usize = 512;

/// Why the API did not give what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// In one word, for the metrics.
    pub reason: Reason,
    /// In a sentence, for people.
    pub message: String,
}

/// Why the API did not give what it was asked for, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nobody says where the API is.
    Unconfigured,
    /// No connection, or one that broke.
    Unreachable,
    /// It does not know who we are (401).
    Unauthorized,
    /// It knows and refuses (403): a Role is missing.
    Forbidden,
    /// There is no such kind of object (404).
    NotFound,
    /// What was seen last is too old to go on from (410): everything is listed again.
    Expired,
    /// It has too much to do (429).
    Throttled,
    /// It failed (5xx).
    ServerError,
    /// Its answer made no sense, or it refused for another reason.
    Other,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Unconfigured,
        Self::Unreachable,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Expired,
        Self::Throttled,
        Self::ServerError,
        Self::Other,
    ];

    /// Its name in the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unconfigured => "unconfigured",
            Self::Unreachable => "unreachable",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Expired => "expired",
            Self::Throttled => "throttled",
            Self::ServerError => "server_error",
            Self::Other => "other",
        }
    }

    /// Whether the same may succeed later, without anybody having allowed anything.
    pub(super) const fn may_pass(self) -> bool {
        use Reason::{ServerError, Throttled, Unauthorized, Unconfigured, Unreachable};
        matches!(self, Unconfigured | Unreachable | Unauthorized | Throttled | ServerError)
    }

    const fn of(status: u16) -> Self {
        match status {
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            410 => Self::Expired,
            429 => Self::Throttled,
            500..=599 => Self::ServerError,
            _ => Self::Other,
        }
    }
}

impl From<&kube::Error> for Failure {
    fn from(error: &kube::Error) -> Self {
        let reason = match error {
            kube::Error::Api(status) => {
                let message = short(status.message.clone());
                return Self { reason: Reason::of(status.code), message };
            }
            kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => {
                Reason::Unreachable
            }
            kube::Error::Auth(_) => Reason::Unauthorized,
            _ => Reason::Other,
        };
        Self { reason, message: short(chain(error)) }
    }
}

fn short(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        message.push('…');
    }
    message
}

impl Failure {
    /// No answer within this time.
    pub(super) fn silence(time: Duration) -> Self {
        Self { reason: Reason::Unreachable, message: format!("no answer within {time:?}") }
    }
}

/// An error with what it comes from, each said once.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Failure, MESSAGE_BYTES_MAX, Reason};
    use kube::core::Status;

    #[test]
    fn a_status_of_the_api_names_its_reason() {
        for (code, reason) in [
            (401, Reason::Unauthorized),
            (403, Reason::Forbidden),
            (404, Reason::NotFound),
            (410, Reason::Expired),
            (429, Reason::Throttled),
            (503, Reason::ServerError),
            (418, Reason::Other),
        ] {
            let status = Status::failure("no", "No").with_code(code);
            let failure = Failure::from(&kube::Error::Api(status.boxed()));
            assert_eq!((failure.reason, failure.message.as_str()), (reason, "no"));
        }
    }

    #[test]
    fn a_page_is_told_in_part() {
        let status = Status::failure(&"ä".repeat(MESSAGE_BYTES_MAX), "No").with_code(502);
        let failure = Failure::from(&kube::Error::Api(status.boxed()));
        assert_eq!(failure.message, "ä".repeat(MESSAGE_BYTES_MAX / 2) + "…");
    }

    #[test]
    fn what_breaks_the_connection_is_told_once_with_its_cause() {
        let inner = std::io::Error::other("connection refused");
        let failure = Failure::from(&kube::Error::ReadEvents(inner));
        assert_eq!(failure.reason, Reason::Unreachable);
        assert_eq!(failure.message.matches("connection refused").count(), 1);
    }
}
