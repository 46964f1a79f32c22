//! `/`: the dashboard, one page that brings all it needs and asks only this listener.

use super::State;
use super::answer::{Answer, answer};
use http::header::CONTENT_SECURITY_POLICY;
use http::{HeaderValue, StatusCode};

/// The page; nothing in it depends on the configuration, it asks the API itself.
const PAGE: &str = include_str!("dashboard.html");
/// What stands in the page for the number that lets its own script and style run.
const NONCE: &str = "{{nonce}}";

/// The page, under a policy by which it can run and ask nothing but its own.
pub(super) fn page(_: &State, _: &[u8]) -> Answer {
    let nonce = format!("{:032x}", rand::random::<u128>());
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    let page = PAGE.replace(NONCE, &nonce);
    let mut answer = answer(StatusCode::OK, "text/html; charset=utf-8", page.into());
    // A policy of these characters is always a field value.
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    answer
}
