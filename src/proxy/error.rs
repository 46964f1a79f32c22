//! Why Serin answers or breaks off a request itself: one table of causes.

use http::StatusCode;

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The client's.
    Downstream,
    /// The service's.
    Upstream,
    /// The configuration's or ours.
    Proxy,
}

impl Blame {
    /// Its label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Proxy => "proxy",
        }
    }
}

/// What a cause means for the request.
#[derive(Debug, Clone, Copy)]
pub struct Meaning {
    /// Its label.
    pub label: &'static str,
    /// The status that the client gets, or would have got.
    pub status: StatusCode,
    /// Whose fault it is.
    pub blame: Blame,
    /// What the client is told.
    pub text: &'static str,
}

/// Declares the causes; a new one is one line here.
macro_rules! causes {
    ($(
        $(#[$doc:meta])*
        $cause:ident $label:literal $status:ident $blame:ident $text:literal;
    )*) => {
        /// The causes of failure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Error { $($(#[$doc])* $cause),* }

        impl Error {
            /// Every cause, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$cause),*];

            /// What this cause means for the request.
            pub const fn meaning(self) -> Meaning {
                match self {
                    $(Self::$cause => Meaning {
                        label: $label,
                        status: StatusCode::$status,
                        blame: Blame::$blame,
                        text: $text,
                    },)*
                }
            }
        }
    };
}

causes! {
    /// The host is missing, given twice or malformed.
    BadHost "bad_host" BAD_REQUEST Downstream "the request's host is missing or malformed";
    /// The target is not of a form that the method may have (RFC 9112 section 3.2).
    BadTarget "bad_target" BAD_REQUEST Downstream "the request's target is malformed";
    /// A field is given twice or padded, where the protocol forbids it (RFC 9113 section 8.2.1).
    BadField "bad_field" BAD_REQUEST Downstream "a field of the request is malformed";
    /// The target is longer than the listener takes (RFC 9110 section 4.1).
    TargetTooLong "target_too_long" URI_TOO_LONG Downstream "the request's target is too long";
    /// The client expects something other than `100-continue`.
    Expectation "expectation" EXPECTATION_FAILED Downstream "this expectation can not be met";
    /// CONNECT is not served.
    Connect "connect" METHOD_NOT_ALLOWED Downstream "CONNECT is not served here";
    /// The client's connection broke inside the request body, or it was framed wrongly.
    RequestBroken "request_broken" BAD_REQUEST Downstream "the request body broke off";
    /// The client stopped sending the request body.
    RequestStalled "request_stalled" REQUEST_TIMEOUT Downstream "the request body stalled";
    /// The client left before its response was complete.
    ClientLeft "client_left" OK Downstream "";
    /// No route matches.
    NoRoute "no_route" NOT_FOUND Proxy "no route matches this request";
    /// No pool has an endpoint that can take the request.
    NoEndpoint "no_endpoint" SERVICE_UNAVAILABLE Upstream "no endpoint can take this request";
    /// No connection to the endpoint could be made.
    ConnectFailed "connect_failed" SERVICE_UNAVAILABLE Upstream "the service can not be reached";
    /// No connection to the endpoint was made in time.
    ConnectTimedOut "connect_timed_out" GATEWAY_TIMEOUT Upstream "connecting to the service timed out";
    /// No response came in time.
    ResponseTimedOut "response_timed_out" GATEWAY_TIMEOUT Upstream "the service did not answer in time";
    /// The connection broke before a response came.
    UpstreamReset "upstream_reset" BAD_GATEWAY Upstream "the service closed the connection without an answer";
    /// What the service sent is no valid response.
    InvalidResponse "invalid_response" BAD_GATEWAY Upstream "the service's answer is not valid HTTP";
    /// The response broke off or stalled after its head had been sent.
    ResponseBroken "response_broken" BAD_GATEWAY Upstream "";
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.meaning().label)
    }
}

impl std::error::Error for Error {}
