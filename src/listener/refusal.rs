//! Why a listener refuses a client before its request can be served: one table of reasons.

use crate::telemetry::shard::Counter;
use http::StatusCode;

/// Declares the reasons; a new one is one line here. A status and a text say that the client is
/// told; without them it is not.
macro_rules! refusals {
    ($($(#[$doc:meta])* $refusal:ident $label:literal $($status:ident $text:literal)?;)*) => {
        /// Why a client is refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Refusal { $($(#[$doc])* $refusal),* }

        impl Refusal {
            /// Every reason, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$refusal),*];

            /// Its label.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$refusal => $label,)* }
            }

            /// What the client is told, if anything.
            pub fn answer(self) -> Option<(StatusCode, &'static str)> {
                match self {
                    $(Self::$refusal => {
                        [$((StatusCode::$status, $text))?].first().copied()
                    })*
                }
            }
        }

        /// The numbers of refusals by reason.
        #[derive(Debug, Default)]
        pub(super) struct Refusals([Counter; Refusal::ALL.len()]);
    };
}

refusals! {
    /// The TLS handshake took too long.
    HandshakeTimedOut "tls_handshake_timed_out";
    /// The head of a request did not come in time.
    HeadTimedOut "head_timed_out" REQUEST_TIMEOUT "the request's head did not come in time";
    /// The request line is malformed (RFC 9112 section 3).
    BadRequestLine "bad_request_line" BAD_REQUEST "the request line is malformed";
    /// A header field or the end of a line is malformed (RFC 9112 sections 2.2 and 5).
    BadField "bad_field" BAD_REQUEST "the request's head is malformed";
    /// The end of the body is not clear (RFC 9112 section 6).
    BadFraming "bad_framing" BAD_REQUEST "the end of the request's body is not clear";
    /// The body has a transfer coding beside `chunked`.
    UnknownCoding "unknown_coding" NOT_IMPLEMENTED "no transfer coding but chunked is served here";
    /// The target is longer than the limit.
    TargetTooLong "target_too_long" URI_TOO_LONG "the request's target is too long";
    /// The head is larger than the limit.
    HeadTooLarge "head_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE "the request's head is too large";
    /// The head has more fields than the limit.
    TooManyFields "too_many_fields" REQUEST_HEADER_FIELDS_TOO_LARGE "the request has too many fields";
    /// The version is neither HTTP/1.0 nor HTTP/1.1.
    UnknownVersion "unknown_version" HTTP_VERSION_NOT_SUPPORTED "this version of HTTP is not served here";
    /// The listener has as many connections as it may have.
    Connections "connections";
    /// The client has as many connections as it may have.
    ConnectionsOfClient "connections_per_address";
    /// A trusted peer's connection did not begin with a PROXY protocol header.
    ProxyHeader "proxy_protocol";
    /// A trusted peer's PROXY protocol header took too long.
    ProxyHeaderTimedOut "proxy_protocol_timed_out";
    /// An HTTP/2 client sent too many frames that ask for nothing.
    FrameFlood "http2_frames";
    /// An HTTP/2 client reset too many of its streams.
    StreamResets "http2_stream_resets";
    /// An HTTP/2 client did too much of something else; GOAWAY with `ENHANCE_YOUR_CALM`.
    Calm "http2_calm";
    /// An HTTP/2 client broke the protocol in a way that ends its connection.
    Http2Error "http2_error";
}

impl Refusals {
    /// Counts a refusal.
    pub(super) fn count(&self, refusal: Refusal) {
        let Self(counters) = self;
        if let Some(counter) = counters.get(refusal as usize) {
            counter.increment();
        }
    }

    /// How many there were.
    pub(super) fn number(&self, refusal: Refusal) -> u64 {
        let Self(counters) = self;
        counters.get(refusal as usize).map_or(0, Counter::value)
    }
}
