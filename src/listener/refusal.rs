//! Why a listener refuses a client before its request can be served: one table of reasons.

use crate::telemetry::shard::Counter;

/// Declares the reasons; a new one is one line here.
macro_rules! refusals {
    ($($(#[$doc:meta])* $refusal:ident $label:literal;)*) => {
        /// Why a client is refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Refusal { $($(#[$doc])* $refusal),* }

        impl Refusal {
            /// Every reason, in the order of their numbers.
            pub(super) const ALL: &[Self] = &[$(Self::$refusal),*];

            /// Its label.
            pub(super) const fn label(self) -> &'static str {
                match self { $(Self::$refusal => $label,)* }
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
