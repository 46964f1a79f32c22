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
