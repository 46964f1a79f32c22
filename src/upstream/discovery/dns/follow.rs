//! The look-ups of one name, one after the other, for as long as its pool is in use.

use super::schedule::{DISTRESS_PAUSE, after_answer, after_miss};
use super::{Answer, DnsConfig, Family, LookUp};
use crate::upstream::discovery::{ENDPOINTS_MAX, Findings, Found, Missed};
use futures_util::FutureExt;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::time::{Instant, sleep, sleep_until};

/// Looks up again and again; never ends.
pub(super) async fn follow(config: &DnsConfig, mut resolver: impl LookUp, mut findings: Findings) {
    let mut distress = findings.distress();
    let last = Arc::clone(&findings.last);
    let mut in_vain = 0_u32;
    loop {
        let began = Instant::now();
        // Whoever called for help before is helped now.
        distress.mark_unchanged();
        let looking = resolver.look_up(began + config.timeout.0);
        // What strangers answer is taken apart in there; a bug must not be the last look-up.
        let answer = AssertUnwindSafe(looking).catch_unwind().await;
        let answer = answer
            .unwrap_or_else(|_| Err(Missed::Failed("the look-up panicked".to_owned())))
            .and_then(|answer| Ok((addresses(&answer, &last.lock())?, answer.ttl)));
        let pause = match answer {
            Ok((addresses, ttl)) => {
                in_vain = 0;
                let found = addresses.iter().map(|ip| SocketAddr::new(*ip, config.port));
                findings.found(&found.map(Found::from).collect::<Vec<_>>());
                *last.lock() = addresses;
                after_answer(ttl, config)
            }
            Err(missed) => {
                in_vain = in_vain.saturating_add(1);
                findings.missed(&missed);
                after_miss(in_vain, config, rand::random())
            }
        };
        let distressed = async {
            if distress.changed().await.is_err() {
                pending::<()>().await;
            }
            sleep_until(began + DISTRESS_PAUSE).await;
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = distressed => {}
        }
    }
}

/// The addresses of an answer in an order of their own, each once, as many as there may be. Of a
/// family that could not be asked for, those before.
fn addresses(answer: &Answer, before: &[IpAddr]) -> Result<Vec<IpAddr>, Missed> {
    let kept = before.iter().filter(|ip| answer.unknown == Some(Family::of(**ip)));
    let new = answer.addresses.iter().map(IpAddr::to_canonical);
    // Nobody listens at what stands for all addresses, or for many.
    let new = new.filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
    let mut addresses: Vec<IpAddr> = new.chain(kept.copied()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ENDPOINTS_MAX);
    if addresses.is_empty() { Err(Missed::NoRecords) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests;
