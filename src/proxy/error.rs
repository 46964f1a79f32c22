//! Why Serin answers or breaks off a request itself: one table of causes.

use super::grpc::Status;
use crate::base::body::BodyError;
use crate::base::bounds::Exceeded;
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

/// Whether another endpoint may do better, if the request may be sent again at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It may.
    Elsewhere,
    /// It would fail there too, or its time is over.
    Never,
}

/// What a cause means for the request.
#[derive(Debug, Clone, Copy)]
pub struct Meaning {
    /// Its label.
    pub label: &'static str,
    /// The status that the client gets, or would have got.
    pub status: StatusCode,
    /// The same for the client of a gRPC call.
    pub grpc: Status,
    /// Whose fault it is.
    pub blame: Blame,
    /// Whether it is worth another attempt.
    pub retry: Retry,
    /// What the client is told.
    pub text: &'static str,
}

/// Declares the causes; a new one is one line here.
macro_rules! causes {
    ($(
        $(#[$doc:meta])*
        $cause:ident $label:literal
            $status:ident $grpc:ident $blame:ident $retry:ident $text:literal;
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
                        grpc: Status::$grpc,
                        blame: Blame::$blame,
                        retry: Retry::$retry,
                        text: $text,
                    },)*
                }
            }
        }
    };
}

causes! {
    /// The host is missing, given twice or malformed.
    BadHost "bad_host"
        BAD_REQUEST Internal Downstream Never "the request's host is missing or malformed";
    /// The target is not of a form that the method may have (RFC 9112 section 3.2).
    BadTarget "bad_target"
        BAD_REQUEST Internal Downstream Never "the request's target is malformed";
    /// A field is given twice or padded, where the protocol forbids it (RFC 9113 section 8.2.1).
    BadField "bad_field"
        BAD_REQUEST Internal Downstream Never "a field of the request is malformed";
    /// The target is longer than the listener takes (RFC 9110 section 4.1).
    TargetTooLong "target_too_long"
        URI_TOO_LONG ResourceExhausted Downstream Never "the request's target is too long";
    /// The head has more fields than it may.
    TooManyFields "too_many_fields"
        REQUEST_HEADER_FIELDS_TOO_LARGE ResourceExhausted Downstream Never
        "the request has too many header fields";
    /// The certificate that was shown is not for the request's host (RFC 9110 section 15.5.20).
    Misdirected "misdirected"
        MISDIRECTED_REQUEST Unavailable Downstream Never
        "this connection is not for the request's host";
    /// The client expects something other than `100-continue`.
    Expectation "expectation"
        EXPECTATION_FAILED Internal Downstream Never "this expectation can not be met";
    /// The protocol of an extended CONNECT (RFC 8441) is none that the route allows.
    UpgradeRefused "upgrade_refused"
        NOT_IMPLEMENTED Unimplemented Downstream Never "this protocol is not served here";
    /// CONNECT is not served.
    Connect "connect"
        METHOD_NOT_ALLOWED Unimplemented Downstream Never "CONNECT is not served here";
    /// The client's connection broke inside the request body, or it was framed wrongly.
    RequestBroken "request_broken"
        BAD_REQUEST Internal Downstream Never "the request body broke off";
    /// The client stopped sending the request body.
    RequestStalled "request_stalled"
        REQUEST_TIMEOUT DeadlineExceeded Downstream Never "the request body stalled";
    /// The request's body is larger than the route allows (RFC 9110 section 15.5.14).
    BodyTooLarge "body_too_large"
        PAYLOAD_TOO_LARGE ResourceExhausted Downstream Never "the request body is too large";
    /// The request's body comes slower than the route allows.
    BodyTooSlow "body_too_slow"
        REQUEST_TIMEOUT DeadlineExceeded Downstream Never "the request body comes too slowly";
    /// The path can be read in two ways.
    AmbiguousPath "ambiguous_path"
        BAD_REQUEST Internal Downstream Never "the request's path can be read in two ways";
    /// The name of a field has an underscore, which some services read as a hyphen.
    Underscore "underscore"
        BAD_REQUEST Internal Downstream Never "the name of a header field has an underscore";
    /// The client left before its response was complete.
    ClientLeft "client_left"
        OK Cancelled Downstream Never "";
    /// No route matches.
    NoRoute "no_route"
        NOT_FOUND Unimplemented Proxy Never "no route matches this request";
    /// No pool has an endpoint that can take the request.
    NoEndpoint "no_endpoint"
        SERVICE_UNAVAILABLE Unavailable Upstream Never "no endpoint can take this request";
    /// A limit of the pool is reached, and no room was left in time.
    PoolOverloaded "pool_overloaded"
        SERVICE_UNAVAILABLE ResourceExhausted Proxy Never
        "the service is asked for too much at the moment";
    /// No connection to the endpoint could be made.
    ConnectFailed "connect_failed"
        SERVICE_UNAVAILABLE Unavailable Upstream Elsewhere "the service can not be reached";
    /// No connection to the endpoint was made in time.
    ConnectTimedOut "connect_timed_out"
        GATEWAY_TIMEOUT Unavailable Upstream Elsewhere "connecting to the service timed out";
    /// The TLS handshake with the endpoint failed.
    UpstreamTls "upstream_tls_failed"
        SERVICE_UNAVAILABLE Unavailable Upstream Elsewhere
        "no trusted connection to the service could be made";
    /// The endpoint does not speak the configured version of HTTP.
    UpstreamProtocol "upstream_protocol"
        SERVICE_UNAVAILABLE Unavailable Upstream Elsewhere
        "the service does not speak the expected version of HTTP";
    /// All HTTP/2 connections to the endpoint were full for too long.
    UpstreamFull "upstream_full"
        SERVICE_UNAVAILABLE Unavailable Upstream Elsewhere
        "the service has no room for another request";
    /// The endpoint refused the stream again and again (RFC 9113 section 8.7).
    UpstreamRefused "upstream_refused"
        SERVICE_UNAVAILABLE Unavailable Upstream Elsewhere "the service refused the request";
    /// No response came in time.
    ResponseTimedOut "response_timed_out"
        GATEWAY_TIMEOUT DeadlineExceeded Upstream Elsewhere "the service did not answer in time";
    /// The time that the route gives the whole exchange is over.
    RequestTimedOut "request_timed_out"
        GATEWAY_TIMEOUT DeadlineExceeded Upstream Never "the request took too long";
    /// The time that the client gives its gRPC call is over.
    DeadlineExceeded "deadline_exceeded"
        GATEWAY_TIMEOUT DeadlineExceeded Upstream Never "the call's deadline is over";
    /// The connection broke before a response came.
    UpstreamReset "upstream_reset"
        BAD_GATEWAY Unavailable Upstream Elsewhere "the service closed the connection without an answer";
    /// What the service sent is no valid response.
    InvalidResponse "invalid_response"
        BAD_GATEWAY Unavailable Upstream Elsewhere "the service's answer is not valid HTTP";
    /// The service answered an extended CONNECT as if nothing but a response was asked for.
    NotUpgraded "not_upgraded"
        BAD_GATEWAY Unavailable Upstream Never "the service does not speak this protocol";
    /// The response broke off or stalled after its head had been sent.
    ResponseBroken "response_broken"
        BAD_GATEWAY Unavailable Upstream Never "";
}

impl Error {
    /// Whether another endpoint may do better, if the request may be sent again at all.
    pub const fn may_succeed_elsewhere(self) -> bool {
        matches!(self.meaning().retry, Retry::Elsewhere)
    }

    /// What it means that a request's body did not come to its end.
    pub fn of_body(error: &BodyError) -> Self {
        match error {
            BodyError::Source(_) => Self::RequestBroken,
            BodyError::Stalled(_) => Self::RequestStalled,
            BodyError::Exceeded(exceeded) => Self::of_bound(*exceeded),
        }
    }

    /// What it means that a request's body ran into a bound.
    pub const fn of_bound(exceeded: Exceeded) -> Self {
        match exceeded {
            Exceeded::Bytes => Self::BodyTooLarge,
            Exceeded::Rate => Self::BodyTooSlow,
            Exceeded::Time => Self::RequestTimedOut,
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.meaning().label)
    }
}

impl std::error::Error for Error {}
